// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls vz_delay_current() of vz.ko by the smallest BPF program that can: getpgid(2) delays its caller by its argument
 * in nanoseconds, which no process id can be mistaken for. No library, so that the module is tested alone.
 *
 *   delayer hook               load and attach, print "ready", stay until stdin ends
 *   delayer sleep NS           print how many nanoseconds getpgid(NS) took
 *   delayer load N NS SECONDS  N threads call getpgid(NS) again and again; print how often in the end
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DI 112 /* of struct pt_regs on x86-64 */

static void die(const char *what)
{
	fprintf(stderr, "delayer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof *attr);
}

struct blob {
	char *data;
	size_t size;
};

static struct blob slurp(const char *path)
{
	struct blob blob = {malloc(16 << 20), 0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		die(path);
	while ((got = read(fd, blob.data + blob.size, (16 << 20) - blob.size)) > 0)
		blob.size += got;
	close(fd);
	return blob;
}

/* How many bytes follow a type of this kind. */
static size_t tail(const struct btf_type *type)
{
	unsigned n = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	default:
		return 0;
	}
}

/* Counts the types of a BTF; with a name, finds a function. Ids of a module follow those of vmlinux. */
static unsigned walk(struct blob btf, const char *name, unsigned first, const char *base, unsigned base_size)
{
	const struct btf_header *header = (void *)btf.data;
	const char *types = btf.data + header->hdr_len + header->type_off;
	const char *strings = btf.data + header->hdr_len + header->str_off;
	unsigned id = first;

	for (size_t at = 0; at < header->type_len; id++) {
		const struct btf_type *type = (void *)(types + at);
		unsigned off = type->name_off;
		const char *its = off < base_size ? base + off : strings + off - base_size;

		if (name && BTF_INFO_KIND(type->info) == BTF_KIND_FUNC && !strcmp(its, name))
			return id;
		at += sizeof *type + tail(type);
	}
	return name ? 0 : id;
}

static int module_btf(const char *name)
{
	for (unsigned id = 0;;) {
		char found[64] = "";
		struct bpf_btf_info info = {.name = (uintptr_t)found, .name_len = sizeof found};
		union bpf_attr next = {.start_id = id}, get, ask;

		if (bpf(BPF_BTF_GET_NEXT_ID, &next))
			die("no BTF of vz.ko");
		id = next.next_id;
		memset(&get, 0, sizeof get);
		get.btf_id = id;
		int fd = bpf(BPF_BTF_GET_FD_BY_ID, &get);
		memset(&ask, 0, sizeof ask);
		ask.info.bpf_fd = fd;
		ask.info.info_len = sizeof info;
		ask.info.info = (uintptr_t)&info;
		if (fd >= 0 && !bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) && !strcmp(found, name))
			return fd;
		close(fd);
	}
}

#define INSN(c, d, s, o, i) {.code = c, .dst_reg = d, .src_reg = s, .off = o, .imm = i}

static int load(unsigned target, int kfunc_btf, unsigned kfunc)
{
	struct bpf_insn program[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 6, 1, 0, 0),  /* the registers of the caller */
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 7, 6, DI, 0), /* its first argument */
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ktime_get_ns),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_X, 1, 7, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 1, kfunc),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	static char log[1 << 16];
	int fds[] = {-1, kfunc_btf};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_TRACING,
		.expected_attach_type = BPF_TRACE_FENTRY,
		.insns = (uintptr_t)program,
		.insn_cnt = sizeof program / sizeof *program,
		.license = (uintptr_t)"GPL",
		.attach_btf_id = target,
		.fd_array = (uintptr_t)fds,
		.log_buf = (uintptr_t)log,
		.log_size = sizeof log,
		.log_level = 1,
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0) {
		fputs(log, stderr);
		die("BPF_PROG_LOAD");
	}
	return fd;
}

static int hook(void)
{
	struct blob kernel = slurp("/sys/kernel/btf/vmlinux");
	struct blob module = slurp("/sys/kernel/btf/vz");
	const struct btf_header *header = (void *)kernel.data;
	const char *strings = kernel.data + header->hdr_len + header->str_off;
	unsigned target = walk(kernel, "__x64_sys_getpgid", 1, strings, 0);
	unsigned count = walk(kernel, NULL, 1, strings, 0);
	unsigned kfunc = walk(module, "vz_delay_current", count, strings, header->str_len);
	union bpf_attr attr = {0};

	if (!target || !kfunc) {
		fprintf(stderr, "delayer: getpgid %u, vz_delay_current %u\n", target, kfunc);
		return 1;
	}
	attr.raw_tracepoint.prog_fd = load(target, module_btf("vz"), kfunc);
	if (bpf(BPF_RAW_TRACEPOINT_OPEN, &attr) < 0)
		die("attach");
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static uint64_t delay, end;

static void *thread(void *calls)
{
	/* The pause is for QEMU: a CPU that runs into a function while its entry is rewritten may trap too late. */
	while (now() < end) {
		syscall(SYS_getpgid, delay);
		usleep(500);
		++*(unsigned long *)calls;
	}
	return NULL;
}

static void load_threads(int n)
{
	pthread_t threads[n];
	unsigned long calls[n], sum = 0;

	memset(calls, 0, sizeof calls);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, thread, &calls[i]))
			die("pthread_create");
	for (int i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		sum += calls[i];
	}
	printf("%lu\n", sum);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "hook"))
		return hook();
	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "sleep")) {
		uint64_t began = now();

		syscall(SYS_getpgid, strtoull(argv[2], NULL, 0));
		printf("%llu\n", (unsigned long long)(now() - began));
		return 0;
	}
	if (argc < 5)
		return 2;
	delay = strtoull(argv[3], NULL, 0);
	end = now() + strtoull(argv[4], NULL, 0) * 1000000000ULL;
	load_threads(atoi(argv[2]));
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Calls quotactl(2) as tools do not: for tests, inside a container. Built static, as it meets foreign systems.
//
//   call OP TYPE SPECIAL ID   one call; prints "0" or the errno's name. SPECIAL /: quotactl_fd on the root
//   garbage SPECIAL           bad pointers in every argument: EFAULT, never anything else
//   race COUNT SPECIAL        another thread writes to the arguments all the time
//   die COUNT SPECIAL         callers that are killed while they wait
//   parallel COUNT SPECIAL    so many callers at a time, each reads what it has just set
//   foreign                   the 32-bit call, where there is one
//   loop SPECIAL              calls for ever, a line per change of the answer
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/dqblk_xfs.h>
#include <linux/quota.h>

static long call(unsigned op, unsigned type, const char *special, unsigned id, void *data)
{
	return syscall(SYS_quotactl, QCMD(op, type), special, id, data);
}

static const struct {
	const char *name;
	unsigned op;
} ops[] = {
	{"sync", Q_SYNC}, {"getfmt", Q_GETFMT}, {"getinfo", Q_GETINFO}, {"setinfo", Q_SETINFO},
	{"getquota", Q_GETQUOTA}, {"setquota", Q_SETQUOTA}, {"getnext", Q_GETNEXTQUOTA},
	{"quotaon", Q_QUOTAON}, {"quotaoff", Q_QUOTAOFF}, {"xgetquota", Q_XGETQUOTA},
	{"xsetqlim", Q_XSETQLIM}, {"xgetnext", Q_XGETNEXTQUOTA}, {"xgetqstat", Q_XGETQSTAT},
	{"xquotaoff", Q_XQUOTAOFF}, {"unknown", 0x800042},
};

static int one_call(char **argv)
{
	// Long enough for all; a usage that is to be set when QIF_ALL is asked for.
	union {
		struct if_dqblk block;
		struct if_nextdqblk next;
		struct fs_disk_quota xfs;
		char room[512];
	} data;
	unsigned op = 0, type = !strcmp(argv[1], "user") ? 0 : !strcmp(argv[1], "group") ? 1 : atoi(argv[1]);
	unsigned id = strtoul(argv[3], NULL, 0);
	long rc;

	memset(&data, 0, sizeof(data));
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		if (!strcmp(argv[0], ops[i].name))
			op = ops[i].op;
	if (!strcmp(argv[0], "setusage"))
		op = Q_SETQUOTA;
	if (op == Q_SETQUOTA)
		data.block.dqb_valid = strcmp(argv[0], "setusage") ? QIF_LIMITS : QIF_USAGE;
	if (!strcmp(argv[2], "/")) {
		int fd = open("/", O_RDONLY | O_DIRECTORY);

		rc = syscall(SYS_quotactl_fd, fd, QCMD(op, type), id, &data);
	} else {
		rc = call(op, type, strcmp(argv[2], "-") ? argv[2] : NULL, id, &data);
	}
	if (rc < 0)
		printf("%s\n", strerrorname_np(errno));
	else if (op == Q_GETNEXTQUOTA)
		printf("%u\n", data.next.dqb_id);
	else if (op == Q_XGETNEXTQUOTA || op == Q_XGETQUOTA)
		printf("%u\n", data.xfs.d_id);
	else
		printf("0\n");
	return 0;
}

static int is(long rc, int expected, const char *what, uintptr_t pointer)
{
	int got = rc < 0 ? errno : 0;

	if (got == expected)
		return 0;
	printf("%s %#lx: %s\n", what, (unsigned long)pointer, got ? strerrorname_np(got) : "0");
	return 1;
}

static int garbage(const char *special)
{
	const uintptr_t bad[] = {1, 4095, UINTPTR_MAX, UINTPTR_MAX - 71, (uintptr_t)1 << 63, 0x0000800000000000,
				 0xffff888000000000};
	// The last bytes before a hole: a structure and a path that begin well and end nowhere.
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char edge[4200];
	int wrong = 0;

	munmap(page + 4096, 4096);
	memset(page, 'x', 4096);
	memset(edge, 'x', sizeof(edge) - 1);
	edge[sizeof(edge) - 1] = 0;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		wrong += is(call(Q_GETQUOTA, 0, (char *)bad[i], 0, page), EFAULT, "special", bad[i]);
		wrong += is(call(Q_GETQUOTA, 0, special, 0, (void *)bad[i]), EFAULT, "get", bad[i]);
		wrong += is(call(Q_SETQUOTA, 0, special, 0, (void *)bad[i]), EFAULT, "set", bad[i]);
		wrong += is(call(Q_GETNEXTQUOTA, 1, special, 0, (void *)bad[i]), EFAULT, "next", bad[i]);
	}
	wrong += is(call(Q_GETQUOTA, 0, page + 4000, 0, page), EFAULT, "special at the edge", 4000);
	wrong += is(call(Q_GETQUOTA, 0, special, 0, page + 4090), EFAULT, "get at the edge", 4090);
	wrong += is(call(Q_SETQUOTA, 0, special, 0, page + 4090), EFAULT, "set at the edge", 4090);
	wrong += is(call(Q_GETQUOTA, 0, edge, 0, page), ENAMETOOLONG, "a long special", 0);
	wrong += is(syscall(SYS_quotactl_fd, -1, QCMD(Q_GETQUOTA, 0), 0, page), EBADF, "descriptor", -1);
	wrong += is(syscall(SYS_quotactl_fd, 1000000, QCMD(Q_GETQUOTA, 0), 0, page), EBADF, "descriptor", 1000000);
	printf("%d wrong\n", wrong);
	return wrong != 0;
}

static struct if_dqblk shared_block;
static char shared_path[64];
static atomic_int stop;

static void *scribble(void *special)
{
	unsigned seed = 1;

	while (!stop) {
		seed = seed * 1103515245 + 12345;
		shared_block.dqb_valid = seed >> 16 & 0x7f;
		shared_block.dqb_curspace = seed;
		shared_block.dqb_bhardlimit = (seed & 0xffff) + 1000000;
		if (seed & 0x100000)
			strcpy(shared_path, special);
		else
			memset(shared_path, '/', sizeof(shared_path) - 1);
	}
	return NULL;
}

static int race(int count, char *special)
{
	pthread_t thread;
	int done = 0, refused = 0, other = 0;

	if (pthread_create(&thread, NULL, scribble, special))
		return 2;
	for (int i = 0; i < count; i++) {
		if (call(Q_SETQUOTA, 0, shared_path, 4242, &shared_block) == 0)
			done++;
		else if (errno == EPERM || errno == ENODEV)
			refused++;  // usage bits, or half a path
		else
			other++;
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("%d done, %d refused, %d other\n", done, refused, other);
	return other != 0 || done + refused != count;
}

static int die(int count, const char *special)
{
	for (int i = 0; i < count; i++) {
		struct if_dqblk block;
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				call(Q_GETQUOTA, i & 1, special, 0, &block);
		// Some die on the way to the call, some while they wait, some on the way back.
		for (volatile int spin = 0; spin < i * 997 % 200000; spin++)
			;
		kill(pid, SIGKILL);
		if (waitpid(pid, NULL, 0) != pid)
			return 1;
	}
	printf("%d died\n", count);
	return 0;
}

static int parallel(int count, const char *special)
{
	int bad = 0;

	for (int i = 0; i < count; i++) {
		if (fork())
			continue;
		for (int n = 1; n <= 5; n++) {
			struct if_dqblk set = {.dqb_bhardlimit = 1000 * n + i, .dqb_valid = QIF_BLIMITS}, got;

			memset(&got, 0, sizeof(got));
			if (call(Q_SETQUOTA, 0, special, 5000 + i, &set) ||
			    call(Q_GETQUOTA, 0, special, 5000 + i, &got) ||
			    got.dqb_bhardlimit != set.dqb_bhardlimit)
				_exit(1);
		}
		_exit(0);
	}
	for (int i = 0; i < count; i++) {
		int status;

		bad += wait(&status) < 0 || status;
	}
	printf("%d bad\n", bad);
	return bad != 0;
}

static int foreign(void)
{
#ifdef __x86_64__
	long rc;

	// i386: 131 is quotactl
	__asm__ volatile("int $0x80" : "=a"(rc) : "a"(131), "b"(QCMD(Q_GETFMT, 0)), "c"(0), "d"(0), "S"(0) : "memory");
	printf("%s\n", rc ? strerrorname_np(-rc) : "0");
#else
	puts("ENOSYS");
#endif
	return 0;
}

static _Noreturn void loop(const char *special)
{
	int last = -1;

	setlinebuf(stdout);
	for (;;) {
		struct if_dqblk block;
		int now = call(Q_GETQUOTA, 0, special, 0, &block) ? errno : 0;

		if (now != last)
			printf("%s\n", now ? strerrorname_np(now) : "0");
		last = now;
	}
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "call"))
		return one_call(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "garbage"))
		return garbage(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "race"))
		return race(atoi(argv[2]), argv[3]);
	if (argc == 4 && !strcmp(argv[1], "die"))
		return die(atoi(argv[2]), argv[3]);
	if (argc == 4 && !strcmp(argv[1], "parallel"))
		return parallel(atoi(argv[2]), argv[3]);
	if (argc == 2 && !strcmp(argv[1], "foreign"))
		return foreign();
	if (argc == 3 && !strcmp(argv[1], "loop"))
		loop(argv[2]);
	return 2;
}

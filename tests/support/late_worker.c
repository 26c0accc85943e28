// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory of a program that is moved while it runs, and that does with it whatever a program can do: reads it, lets the
 * kernel read it, moves it, gives it back, forks. Each page holds its number and how often it was written; at every
 * moment all of that can be checked.
 *
 * late_worker MIB
 * Lines "ok ROUNDS" every 100 ms or more, or "wrong WHAT PAGE HAS WANTED" and exit status 1.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define CHUNK 16UL /* pages */

struct page {
	uint64_t number, version, rest[PAGE / 8 - 2];
};

static struct page *memory, *elsewhere;
static uint32_t *versions; /* 0: the page is all zeros */
static uint64_t pages, seed = 1;

static uint64_t any(uint64_t below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 33) % below;
}

static void look(const char *what, const struct page *at, uint64_t i)
{
	uint64_t number = versions[i] ? i : 0;

	if (at->number == number && at->version == versions[i] && at->rest[200] == (number ^ versions[i]))
		return;
	printf("wrong %s %" PRIu64 " %" PRIu64 " %" PRIu32 "\n", what, i, at->version, versions[i]);
	fflush(stdout);
	_exit(1);
}

static void change(uint64_t i)
{
	versions[i]++;
	memory[i].number = i;
	memory[i].version = versions[i];
	memory[i].rest[200] = i ^ versions[i];
}

static void zeroed(const char *what, uint64_t from)
{
	for (uint64_t i = from; i < from + CHUNK; i++) {
		versions[i] = 0;
		look(what, memory + i, i);
		if (any(2))
			change(i);
	}
}

static void must(int good, const char *what)
{
	if (good)
		return;
	printf("wrong %s\n", what);
	fflush(stdout);
	_exit(1);
}

/* The kernel is the first to touch the page. */
static void through_a_pipe(uint64_t i)
{
	static struct page copy;
	int ends[2];

	must(pipe(ends) == 0 && write(ends[1], memory + i, PAGE) == (ssize_t)PAGE, "write");
	must(read(ends[0], &copy, PAGE) == (ssize_t)PAGE, "read");
	close(ends[0]);
	close(ends[1]);
	look("pipe", &copy, i);
}

static void in_a_child(uint64_t from)
{
	pid_t child = fork();
	int status = 0;

	must(child >= 0, "fork");
	if (child == 0) {
		for (int n = 0; n < 64; n++) {
			uint64_t i = any(pages);

			look("child", memory + i, i);
		}
		madvise(memory + from, CHUNK * PAGE, MADV_DONTNEED);
		zeroed("child's own", from);
		_exit(0);
	}
	look("parent", memory + from, from);
	must(waitpid(child, &status, 0) == child && status == 0, "child's end");
}

static void moved(uint64_t from)
{
	void *there = mremap(memory + from, CHUNK * PAGE, CHUNK * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);

	must(there == elsewhere, "mremap");
	look("moved", elsewhere + 1, from + 1);
	there = mremap(elsewhere, CHUNK * PAGE, CHUNK * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory + from);
	must(there == memory + from, "mremap back");
	there = mmap(elsewhere, CHUNK * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	must(there == elsewhere, "mmap elsewhere");
	for (uint64_t i = from; i < from + CHUNK; i++)
		look("moved back", memory + i, i);
}

static void renewed(uint64_t from)
{
	void *fresh = mmap(memory + from, CHUNK * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	must(fresh == memory + from, "mmap");
	zeroed("mapped anew", from);
}

static void protected(uint64_t from)
{
	must(mprotect(memory + from, CHUNK * PAGE, PROT_READ) == 0, "mprotect");
	for (uint64_t i = from; i < from + CHUNK; i++)
		look("protected", memory + i, i);
	must(mprotect(memory + from, CHUNK * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect back");
	change(from);
}

static void *other_thread(void *unused)
{
	(void)unused;
	for (uint64_t i = 0;; i = (i + 7919) % (pages / 2)) {
		/* Only touched: what is in it depends on the main thread, which takes no page out of this half. */
		(void)*(volatile uint64_t *)&memory[i].number;
		usleep(300);
	}
	return NULL;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	double said = now();

	if (argc != 2)
		return 2;
	pages = strtoull(argv[1], NULL, 10) * 256;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	elsewhere = mmap(NULL, CHUNK * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	versions = calloc(pages, sizeof *versions);
	if (memory == MAP_FAILED || elsewhere == MAP_FAILED || !versions)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t i = 0; i < pages; i++)
		if (any(8))
			change(i);
	if (pthread_create(&thread, NULL, other_thread, NULL))
		return 2;
	for (uint64_t round = 0;; round++) {
		uint64_t from = any(pages / CHUNK) * CHUNK;

		switch (any(30)) {
		case 0: case 20: case 21: case 22: case 23: through_a_pipe(from); break;
		/*
		 * Seldom: a child that is moved, too, shares its memory with us, and none of that comes late. On a slow
		 * machine a fork takes a thousand times longer than the rest.
		 */
		case 1:
			if (any(4) == 0)
				in_a_child(from);
			break;
		case 2: case 10: case 11: case 12: renewed(from); break;
		case 3: case 13: case 14: case 15: protected(from); break;
		case 4: case 16: case 17:
			must(madvise(memory + from, CHUNK * PAGE, MADV_DONTNEED) == 0, "madvise");
			zeroed("given back", from);
			break;
		case 5: case 18: case 19: case 24: case 25:
			moved(pages / 2 + from / 2 / CHUNK * CHUNK);
			break;
		default:
			for (uint64_t i = from; i < from + CHUNK; i++)
				look("read", memory + i, i);
			change(from);
		}
		if (now() - said > 0.1) {
			printf("ok %" PRIu64 "\n", round);
			said = now();
		}
		usleep(500);
	}
}

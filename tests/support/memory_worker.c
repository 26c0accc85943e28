// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Touches memory in a loop, in as many threads as asked for, and checks what it finds: each page holds its number and
 * how often it was written, so that a page that comes back from swap as another one, or as an old one, is seen.
 *
 * memory_worker MIB THREADS SECONDS [read] [shared]
 *   read    only the first pass writes; later ones read (and swap out nothing that changed)
 *   shared  a shared mapping, which goes to swap through shmem
 * Writes "ready" when everything was written once, then touches at random for SECONDS from the first line on stdin (or
 * its end), and writes "pages N seconds S per_second P". Exit status 1: a page was wrong.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

struct share {
	pthread_t thread;
	unsigned char *memory;
	uint64_t first, pages, touched, *versions;
	uint32_t seed;
	int wrong;
};

static int reading;
static uint64_t end_ns;

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Not compressible to nothing, never all zeroes. */
static void write_page(struct share *share, uint64_t page)
{
	uint64_t *words = (uint64_t *)(share->memory + page * PAGE);

	words[0] = share->first + page;
	words[1] = ++share->versions[page];
	words[PAGE / 8 - 1] = (share->first + page) * 0x9e3779b97f4a7c15ull ^ words[1];
}

static int page_is_right(const struct share *share, uint64_t page)
{
	const uint64_t *words = (const uint64_t *)(share->memory + page * PAGE);

	return words[0] == share->first + page && words[1] == share->versions[page] &&
	       words[PAGE / 8 - 1] == ((share->first + page) * 0x9e3779b97f4a7c15ull ^ words[1]);
}

static void *touch(void *argument)
{
	struct share *share = argument;

	while (now_ns() < end_ns && !share->wrong) {
		share->seed = share->seed * 1664525u + 1013904223u;
		uint64_t page = (uint64_t)share->seed * share->pages >> 32;

		share->wrong = !page_is_right(share, page);
		if (!reading)
			write_page(share, page);
		share->touched++;
	}
	return NULL;
}

static void *fill(void *argument)
{
	struct share *share = argument;

	for (uint64_t page = 0; page < share->pages; page++)
		write_page(share, page);
	return NULL;
}

static void run(struct share *shares, int threads, void *(*what)(void *))
{
	for (int i = 0; i < threads; i++)
		if (pthread_create(&shares[i].thread, NULL, what, &shares[i]) != 0)
			exit(2);
	for (int i = 0; i < threads; i++)
		pthread_join(shares[i].thread, NULL);
}

static struct share *make_shares(uint64_t pages, int threads, int kind)
{
	struct share *shares = calloc((size_t)threads, sizeof *shares);
	unsigned char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
	/* one page per 512: kept out of the way of what is measured */
	uint64_t *versions = mmap(NULL, pages * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!shares || memory == MAP_FAILED || versions == MAP_FAILED)
		exit(2);
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < threads; i++) {
		shares[i].first = pages * (uint64_t)i / (uint64_t)threads;
		shares[i].pages = pages * (uint64_t)(i + 1) / (uint64_t)threads - shares[i].first;
		shares[i].memory = memory + shares[i].first * PAGE;
		shares[i].versions = versions + shares[i].first;
		shares[i].seed = (uint32_t)(i + 1) * 2654435761u;
	}
	return shares;
}

int main(int argc, char **argv)
{
	int threads = argc > 2 ? atoi(argv[2]) : 1, kind = MAP_PRIVATE, wrong = 0;
	double seconds = argc > 3 ? atof(argv[3]) : 1;
	uint64_t begin, touched = 0;

	for (int i = 4; i < argc; i++) {
		if (!strcmp(argv[i], "read"))
			reading = 1;
		if (!strcmp(argv[i], "shared"))
			kind = MAP_SHARED;
	}
	if (argc < 2 || threads < 1)
		return 2;
	struct share *shares = make_shares(strtoull(argv[1], NULL, 10) << 8, threads, kind);

	run(shares, threads, fill);
	printf("ready %p\n", (void *)shares[0].memory);
	fflush(stdout);
	(void)getchar();
	begin = now_ns();
	end_ns = begin + (uint64_t)(seconds * 1e9);
	run(shares, threads, touch);
	seconds = (double)(now_ns() - begin) / 1e9;
	for (int i = 0; i < threads; i++) {
		touched += shares[i].touched;
		wrong |= shares[i].wrong;
	}
	printf("pages %llu seconds %.3f per_second %.0f\n", (unsigned long long)touched, seconds, (double)touched / seconds);
	if (wrong)
		printf("a page was wrong\n");
	return wrong;
}

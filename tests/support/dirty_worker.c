// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory of a program that is moved while it runs: pages that each hold their number and how often they were written.
 * Writes some of them at a steady rate, checks others, and says every 100 ms how far it is.
 *
 * dirty_worker MIB MIB_PER_SECOND
 * Lines "ok CHECKED WRITTEN", or "wrong PAGE HAS WANTED" and exit status 1.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096UL
#define TICKS 100 /* per second */

struct page {
	uint64_t number, version, rest[PAGE / 8 - 2];
};

static void look(const struct page *memory, const uint32_t *versions, uint64_t i)
{
	if (memory[i].number == i && memory[i].version == versions[i] && memory[i].rest[200] == (i ^ versions[i]))
		return;
	printf("wrong %" PRIu64 " %" PRIu64 " %" PRIu32 "\n", i, memory[i].version, versions[i]);
	exit(1);
}

static void change(struct page *memory, uint32_t *versions, uint64_t i)
{
	versions[i]++;
	memory[i].number = i;
	memory[i].version = versions[i];
	memory[i].rest[200] = i ^ versions[i];
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	const uint64_t pages = strtoull(argv[1], NULL, 10) * 256;
	const uint64_t per_tick = strtoull(argv[2], NULL, 10) * 256 / TICKS;
	struct page *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t *versions = calloc(pages, sizeof *versions);
	uint64_t seed = 1, checked = 0, written = 0, next = 0;

	if (memory == MAP_FAILED || !versions)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t i = 0; i < pages; i++)
		change(memory, versions, i);
	for (unsigned tick = 0;; tick++) {
		for (uint64_t n = 0; n < per_tick; n++, written++) {
			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			change(memory, versions, (seed >> 33) % pages);
		}
		for (uint64_t n = 0; n < pages / 50 + 1; n++, checked++, next = (next + 1) % pages)
			look(memory, versions, next);
		if (tick % 10 == 0)
			printf("ok %" PRIu64 " %" PRIu64 "\n", checked, written);
		nanosleep(&(struct timespec){ 0, 1000000000 / TICKS }, NULL);
	}
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a price of 1/RATE seconds per page would let through on this machine if nothing else cost anything: the bucket of
 * bpf/vswap.bpf.c, the work of a page, a sleep. A guest that its host stops at times, for longer than the credit, cannot
 * keep a rate, whoever asks for the price.
 *
 * pacer RATE WORK FILE
 *   WORK  nanoseconds that a page takes when nobody waits
 *   FILE  begins with the number of pages so far, in 64 bits
 * Until it is killed.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ULL
#define BURST_NS 50000000ULL
#define QUANTUM_NS 1000000ULL

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * NSEC_PER_SEC + (uint64_t)time.tv_nsec;
}

static void spin(uint64_t turns)
{
	for (volatile uint64_t i = 0; i < turns; i++)
		;
}

/* Turns of spin() that take so long, by the fastest of some: the others were interrupted. */
static uint64_t turns_of(uint64_t ns)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 20; i++) {
		uint64_t begin = now_ns(), took;

		spin(100000);
		took = now_ns() - begin;
		if (took < least)
			least = took;
	}
	return ns * 100000 / (least + 1);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;

	uint64_t cost = NSEC_PER_SEC / strtoull(argv[1], NULL, 10), turns = turns_of(strtoull(argv[2], NULL, 10)), due = 0;
	int file = open(argv[3], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (file < 0 || ftruncate(file, 8))
		return 2;
	volatile uint64_t *pages = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (pages == MAP_FAILED)
		return 2;
	for (;;) {
		uint64_t now;

		spin(turns);
		++*pages;
		now = now_ns();
		if (due + BURST_NS < now)
			due = now - BURST_NS;
		due += cost;
		if (due > now + QUANTUM_NS) {
			struct timespec end = {(time_t)(due / NSEC_PER_SEC), (long)(due % NSEC_PER_SEC)};

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
		}
	}
}

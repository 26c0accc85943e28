// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Changes its address space in all ways that there are, for tests that count private memory.
 *
 * map_worker mmap MIB | shared MIB | brk MIB | stack MIB | fork MIB [later]
 *     one request: "ok" or the name of the error; later: "ready" first, and the request when a line is read
 * map_worker mix SEED ROUNDS    random mmap, munmap, mprotect, mremap, brk, threads, fork, vfork and exec
 * map_worker hold SEED          the same, then "ready", and the end when stdin ends
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PLACES 16

static uint32_t seed;
static struct {
	char *memory;
	size_t size;
} places[PLACES];

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static void *map(size_t size, int protection, int kind)
{
	return mmap(NULL, size, protection, kind | MAP_ANONYMOUS, -1, 0);
}

static void *thread(void *argument)
{
	void *memory = map(PAGE * 64, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	if (memory != MAP_FAILED)
		munmap(memory, PAGE * 32);
	return argument;
}

static void run_threads(void)
{
	pthread_t threads[3];
	int started = 0;

	while (started < 3 && pthread_create(&threads[started], NULL, thread, NULL) == 0)
		started++;
	while (started > 0)
		pthread_join(threads[--started], NULL);
}

static void change_place(void)
{
	unsigned at = draw(PLACES);
	size_t size = (1 + draw(512)) * PAGE;

	if (!places[at].memory) {
		static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
		void *memory = map(size, protections[draw(3)], draw(4) ? MAP_PRIVATE : MAP_SHARED);

		if (memory != MAP_FAILED) {
			places[at].memory = memory;
			places[at].size = size;
		}
		return;
	}
	switch (draw(4)) {
	case 0:
		munmap(places[at].memory, places[at].size);
		places[at].memory = NULL;
		break;
	case 1: { /* a hole: more than one mapping from now on */
		size_t half = (places[at].size / PAGE / 2) * PAGE;

		if (half)
			munmap(places[at].memory + half, places[at].size - half);
		places[at].size = half;
		if (!half) {
			munmap(places[at].memory, PAGE);
			places[at].memory = NULL;
		}
		break;
	}
	case 2:
		mprotect(places[at].memory, places[at].size, draw(2) ? PROT_READ | PROT_WRITE : PROT_NONE);
		break;
	default: {
		void *memory = mremap(places[at].memory, places[at].size, size, MREMAP_MAYMOVE);

		if (memory != MAP_FAILED) {
			places[at].memory = memory;
			places[at].size = size;
		}
	}
	}
}

static void run_child(int with_exec)
{
	char number[16], rounds[] = "30";
	pid_t pid;

	snprintf(number, sizeof number, "%u", draw(1000000));
	pid = with_exec == 2 ? vfork() : fork();
	if (pid < 0)
		return;
	if (pid == 0) {
		if (with_exec)
			execl("/proc/self/exe", "map_worker", "mix", number, rounds, (char *)NULL);
		for (int i = 0; i < 20; i++)
			change_place();
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void mix(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		uint32_t what = draw(100);

		if (what < 2)
			run_child((int)draw(3));
		else if (what < 5)
			run_threads();
		else if (what < 12)
			(void)!sbrk((intptr_t)(draw(64) * PAGE) - (intptr_t)(draw(32) * PAGE));
		else
			change_place();
	}
}

static int grow_stack(size_t bytes)
{
	volatile char page[PAGE];

	page[0] = 1;
	return bytes > PAGE ? grow_stack(bytes - PAGE) + page[0] : page[0];
}

static int answer(int good)
{
	printf("%s\n", good ? "ok" : errno == ENOMEM ? "ENOMEM" : errno == EAGAIN ? "EAGAIN" : strerror(errno));
	fflush(stdout);
	(void)getchar();
	return 0;
}

static int request(const char *what, size_t bytes)
{
	if (!strcmp(what, "mmap"))
		return answer(map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE) != MAP_FAILED);
	if (!strcmp(what, "shared"))
		return answer(map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED) != MAP_FAILED);
	if (!strcmp(what, "brk"))
		return answer(sbrk((intptr_t)bytes) != (void *)-1);
	if (!strcmp(what, "stack"))
		return answer(grow_stack(bytes) > 0);
	if (!strcmp(what, "fork")) {
		pid_t pid;

		if (map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE) == MAP_FAILED)
			return answer(0);
		pid = fork();
		if (pid == 0)
			_exit(0);
		return answer(pid > 0);
	}
	return 2;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	seed = (uint32_t)strtoul(argv[2], NULL, 10);
	if (!strcmp(argv[1], "mix")) {
		mix(argc > 3 ? atoi(argv[3]) : 100);
		return 0;
	}
	if (!strcmp(argv[1], "hold")) {
		mix(200);
		printf("ready\n");
		fflush(stdout);
		(void)getchar();
		return 0;
	}
	if (argc > 3 && !strcmp(argv[3], "later")) {
		printf("ready\n");
		fflush(stdout);
		(void)getchar();
	}
	return request(argv[1], strtoul(argv[2], NULL, 10) << 20);
}

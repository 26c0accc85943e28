// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What runs inside the containers of bench/memory.py; static, so that any root has what it needs.
 *
 *   memory_load sweep MIB THREADS   touches MIB again and again, page by page, and checks every page it wrote;
 *                                   "ready" after the first pass, until SIGTERM, then the number of pages touched
 *   memory_load fault SECONDS       maps, touches and unmaps 8 MiB: page faults per second of CPU time
 *   memory_load refault SECONDS     touches the same 8 MiB and drops the pages: nothing but faults
 *   memory_load single SECONDS      maps, touches and unmaps one page: two system calls for each fault
 *   memory_load probe SECONDS       every 10 ms a small piece of work with fresh pages: its latency in microseconds,
 *                                   as "COUNT P50 P99 MAX"
 *   memory_load hold MIB            fills MIB that compress 2:1, touches one half of it once a second, checks that
 * half; "ready" when filled, until SIGTERM Status 1: a page did not hold what was written to it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define WORDS (PAGE / sizeof(uint64_t))

static volatile sig_atomic_t stopped;

static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

static double seconds_of(clockid_t clock) {
  struct timespec t;

  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now(void) { return seconds_of(CLOCK_MONOTONIC); }

static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ x >> 33;
}

static void* map(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (memory == MAP_FAILED) {
    perror("mmap");
    exit(2);
  }
  return memory;
}

static void corrupt(size_t page) {
  fprintf(stderr, "page %zu does not hold what was written to it\n", page);
  exit(1);
}

struct range {
  uint64_t* memory;
  size_t first, last;
  uint64_t touched;
  pthread_barrier_t* filled;
};

/* The first and the last word of a page say which page in which version it is; both change with every pass. */
static void* sweep(void* argument) {
  struct range* range = argument;
  uint64_t version;

  for (version = 1; !stopped; version++) {
    for (size_t page = range->first; page < range->last && !stopped; page++) {
      uint64_t* words = range->memory + page * WORDS;

      if (version == 1) {
        /* half of it random: compresses about 2:1 */
        for (size_t i = 0; i < WORDS / 2; i++) words[i] = mix(page * WORDS + i);
      } else if (words[0] != mix(page + version - 1) || words[WORDS - 1] != mix(page + version - 1)) {
        corrupt(page);
      }
      words[0] = words[WORDS - 1] = mix(page + version);
      range->touched++;
    }
    if (version == 1) pthread_barrier_wait(range->filled);
  }
  return NULL;
}

static int run_sweep(size_t pages, size_t threads) {
  uint64_t *memory = map(pages * PAGE), touched = 0;
  struct range* ranges = calloc(threads, sizeof(*ranges));
  pthread_t* ids = calloc(threads, sizeof(*ids));
  pthread_barrier_t filled;

  pthread_barrier_init(&filled, NULL, (unsigned)threads + 1);
  for (size_t i = 0; i < threads; i++) {
    ranges[i] = (struct range){memory, pages * i / threads, pages * (i + 1) / threads, 0, &filled};
    if (pthread_create(&ids[i], NULL, sweep, &ranges[i])) return 2;
  }
  pthread_barrier_wait(&filled);
  puts("ready");
  fflush(stdout);
  for (size_t i = 0; i < threads; i++) {
    pthread_join(ids[i], NULL);
    touched += ranges[i].touched;
  }
  printf("%lu\n", (unsigned long)touched);
  return 0;
}

/* Page by page: a huge page would be one fault. */
static volatile char* map_small(size_t bytes) {
  void* memory = map(bytes);

  if (bytes > PAGE) madvise(memory, bytes, MADV_NOHUGEPAGE);
  return memory;
}

static void fault_8_mib(volatile char* same, size_t bytes) {
  for (size_t done = 0; done < 8UL << 20; done += bytes) {
    volatile char* memory = same ? same : map_small(bytes);

    for (size_t at = 0; at < bytes; at += PAGE) memory[at] = 1;
    if (same)
      madvise((void*)memory, bytes, MADV_DONTNEED);
    else
      munmap((void*)memory, bytes);
  }
}

/* By the CPU time that it got: what others do on this CPU meanwhile is no part of it. */
static int run_fault(double seconds, size_t bytes, int again) {
  volatile char* same = again ? map_small(bytes) : NULL;
  double begin = now(), used = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  uint64_t faults = 0;

  for (; now() - begin < seconds && !stopped; faults += (8UL << 20) / PAGE) fault_8_mib(same, bytes);
  printf("%.0f\n", (double)faults / (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - used));
  return 0;
}

static int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;

  return x < y ? -1 : x > y;
}

static int run_probe(double seconds) {
  const size_t most = 1000000, bytes = 256UL << 10;
  double *samples = calloc(most, sizeof(*samples)), begin = now();
  size_t count = 0;
  uint64_t sum = 0;

  while (now() - begin < seconds && count < most && !stopped) {
    struct timespec pause = {0, 10000000};
    double start;
    volatile uint64_t* memory;

    nanosleep(&pause, NULL);
    start = now();
    memory = map(bytes);
    for (size_t i = 0; i < bytes / sizeof(*memory); i += 8) memory[i] = sum = mix(sum + i);
    munmap((void*)memory, bytes);
    samples[count++] = (now() - start) * 1e6;
  }
  if (!count) return 2;
  qsort(samples, count, sizeof(*samples), ascending);
  printf("%zu %.0f %.0f %.0f\n", count, samples[count / 2], samples[count * 99 / 100], samples[count - 1]);
  return 0;
}

static int run_hold(size_t pages) {
  uint64_t* memory = map(pages * PAGE);

  for (size_t page = 0; page < pages; page++)
    for (size_t i = 0; i < WORDS / 2; i++)
      memory[page * WORDS + i] = mix((page * WORDS + i) ^ (uint64_t)getpid() << 40);
  puts("ready");
  fflush(stdout);
  while (!stopped) {
    for (size_t page = 0; page < pages / 2; page++) {
      if (memory[page * WORDS] != mix((page * WORDS) ^ (uint64_t)getpid() << 40)) corrupt(page);
    }
    sleep(1);
  }
  return 0;
}

int main(int argc, char** argv) {
  const char* what = argc > 2 ? argv[1] : "";

  signal(SIGTERM, stop);
  if (!strcmp(what, "sweep") && argc == 4)
    return run_sweep(strtoul(argv[2], NULL, 10) << 8, strtoul(argv[3], NULL, 10));
  if (!strcmp(what, "fault")) return run_fault(strtod(argv[2], NULL), 8UL << 20, 0);
  if (!strcmp(what, "refault")) return run_fault(strtod(argv[2], NULL), 8UL << 20, 1);
  if (!strcmp(what, "single")) return run_fault(strtod(argv[2], NULL), PAGE, 0);
  if (!strcmp(what, "probe")) return run_probe(strtod(argv[2], NULL));
  if (!strcmp(what, "hold")) return run_hold(strtoul(argv[2], NULL, 10) << 8);
  fprintf(stderr,
          "usage: memory_load sweep MIB THREADS | fault SECONDS | refault SECONDS | single SECONDS | probe SECONDS | "
          "hold MIB\n");
  return 2;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What bench/ub.py measures: ub_load OPERATION SECONDS, "NANOSECONDS" per operation of one process.
 *
 *   open    open and close /dev/null            socket  socket and close, UDP
 *   fork    fork, exit, wait                    mmap    map and unmap one page
 *   lock    lock and unlock one byte of a file
 *   serve   as a web server: accept, open, read, send, close both; the client is a thread
 *   idle    nothing, for ever
 *   chat    as hackbench: 8 processes pass messages of 100 bytes around in a ring, time per message
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int file, listener;
static struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0ub_load"};
static const socklen_t kAddressSize = sizeof(sa_family_t) + 8;

static double now(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void open_close(void) { close(open("/dev/null", O_RDONLY)); }

static void socket_close(void) { close(socket(AF_INET, SOCK_DGRAM, 0)); }

static void fork_wait(void) {
  pid_t child = fork();

  if (child == 0) _exit(0);
  waitpid(child, NULL, 0);
}

static void map_unmap(void) {
  munmap(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
}

static void lock_unlock(void) {
  struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1};

  fcntl(file, F_SETLK, &range);
  range.l_type = F_UNLCK;
  fcntl(file, F_SETLK, &range);
}

static void* client(void* argument) {
  char buffer[4096];

  for (;;) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (connect(fd, (struct sockaddr*)&address, kAddressSize) == 0)
      while (read(fd, buffer, sizeof(buffer)) > 0)
        ;
    close(fd);
  }
  return argument;
}

static void serve(void) {
  char buffer[4096];
  int connection = accept(listener, NULL, NULL), page = open("/proc/self/exe", O_RDONLY);
  ssize_t size = read(page, buffer, sizeof(buffer));

  if (size > 0) (void)!write(connection, buffer, (size_t)size);
  close(page);
  close(connection);
}

static int begin_serving(void) {
  pthread_t thread;

  listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr*)&address, kAddressSize) || listen(listener, 64)) return -1;
  return pthread_create(&thread, NULL, client, NULL);
}

#define RING 8

static int ring[RING][2];

static void pass_on(void) {
  char message[100] = {0};

  (void)!write(ring[0][1], message, sizeof(message));
  (void)!read(ring[RING - 1][0], message, sizeof(message));
}

static int begin_chat(void) {
  for (int i = 0; i < RING; i++)
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ring[i])) return -1;
  for (int i = 1; i < RING; i++) {
    char message[100];

    if (fork() != 0) continue;
    for (int j = 0; j < RING; j++) {
      if (j != i - 1) close(ring[j][0]);
      if (j != i) close(ring[j][1]);
    }
    while (read(ring[i - 1][0], message, sizeof(message)) > 0) (void)!write(ring[i][1], message, sizeof(message));
    _exit(0);
  }
  return 0;
}

static void idle(void) { pause(); }

static const struct {
  const char* name;
  void (*run)(void);
  int per_run;
} kOperations[] = {{"open", open_close, 1}, {"socket", socket_close, 1}, {"fork", fork_wait, 1},
                   {"mmap", map_unmap, 1},  {"lock", lock_unlock, 1},    {"serve", serve, 1},
                   {"chat", pass_on, RING},
                   {"idle", idle, 1}};

int main(int argc, char** argv) {
  double seconds = argc == 3 ? atof(argv[2]) : 0;

  file = open("/tmp/ub_load.lock", O_RDWR | O_CREAT, 0600);
  for (unsigned i = 0; i < sizeof(kOperations) / sizeof(*kOperations) && seconds > 0; i++) {
    double began, ended;
    uint64_t done = 0;

    if (strcmp(argv[1], kOperations[i].name)) continue;
    if (!strcmp(argv[1], "serve") && begin_serving()) return 1;
    if (!strcmp(argv[1], "chat") && begin_chat()) return 1;
    for (began = ended = now(); ended - began < seconds; ended = now())
      for (int n = 0; n < 50; n++, done++) kOperations[i].run();
    printf("%.1f\n", (ended - began) * 1e9 / (double)done / kOperations[i].per_run);
    fflush(stdout);
    return 0;
  }
  return 2;
}

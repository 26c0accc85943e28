// SPDX-License-Identifier: GPL-2.0-or-later
// Moves pages of its own to swap and back, for patched.py. One program, four commands:
//   churn THREADS PAGES zero|data   each thread moves a block of PAGES out and in, for ever
//   walk THREADS PAGES zero|data    each thread touches PAGES in turn, for ever: memory.max moves them
//   hold PAGES                      fills PAGES, moves them out at SIGUSR1, in at SIGUSR2, says what it did
//   peek PID ADDRESS PAGES          reads another process' pages with process_vm_readv
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static size_t page_size;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static char *block(size_t pages, int zero)
{
    char *memory = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        die("mmap");
    for (size_t i = 0; i < pages * page_size; i += 16)
        memory[i] = zero ? 0 : (char)(i / 16 + i / page_size);
    return memory;
}

static void advise(char *memory, size_t pages, int advice)
{
    while (madvise(memory, pages * page_size, advice))
        if (errno != EINTR && errno != EAGAIN)
            die("madvise");
}

static size_t churn_pages;
static int churn_zero, churn_walks;

static void *churn(void *unused)
{
    char *memory = block(churn_pages, churn_zero);

    (void)unused;
    while (churn_walks)
        for (size_t i = 0; i < churn_pages; i++)
            ((volatile char *)memory)[i * page_size]++;
    for (;;) {
        advise(memory, churn_pages, MADV_PAGEOUT);
        advise(memory, churn_pages, MADV_POPULATE_READ);
    }
    return NULL;
}

static void hold(size_t pages)
{
    char *memory = block(pages, 0);
    sigset_t set;
    int number;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    printf("%p\n", (void *)memory);
    fflush(stdout);
    while (!sigwait(&set, &number)) {
        advise(memory, pages, number == SIGUSR1 ? MADV_PAGEOUT : MADV_POPULATE_READ);
        printf("%s\n", number == SIGUSR1 ? "out" : "in");
        fflush(stdout);
    }
}

static void peek(pid_t pid, char *address, size_t pages)
{
    char byte;

    for (size_t i = 0; i < pages; i++) {
        struct iovec local = {&byte, 1}, remote = {address + i * page_size, 1};

        if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != 1)
            die("process_vm_readv");
    }
}

int main(int argc, char **argv)
{
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    churn_walks = argc == 5 && !strcmp(argv[1], "walk");
    if (churn_walks || (argc == 5 && !strcmp(argv[1], "churn"))) {
        churn_pages = strtoul(argv[3], NULL, 0);
        churn_zero = !strcmp(argv[4], "zero");
        for (int n = atoi(argv[2]); n > 1; n--) {
            pthread_t thread;

            if (pthread_create(&thread, NULL, churn, NULL))
                die("pthread_create");
        }
        churn(NULL);
    } else if (argc == 3 && !strcmp(argv[1], "hold")) {
        hold(strtoul(argv[2], NULL, 0));
    } else if (argc == 5 && !strcmp(argv[1], "peek")) {
        peek(atoi(argv[2]), (char *)strtoul(argv[3], NULL, 0), strtoul(argv[4], NULL, 0));
        return 0;
    }
    return 2;
}

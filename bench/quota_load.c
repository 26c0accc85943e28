// SPDX-License-Identifier: GPL-2.0-or-later
/* Files for bench/quota.py, in the directory that is the working directory.
 *   fill COUNT SIZE   so many files of SIZE bytes, 100 in a directory, each directory of one of 16 users
 *   scan              stat of every inode, bytes and inodes added up for each user, as a quota scan does it: "FILES BYTES"
 *   work COUNT SIZE   makes COUNT files, appends to each four times, removes them; for each of it, with what is written to the
 *                     disk in the end, a line "STEP SECONDS BUSY", BUSY without the time in which no CPU had anything to do
 *   busy              creates, appends, renames and removes for ever; a line per 100
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define USERS 16
#define FIRST_USER 100000
#define PER_DIRECTORY 100
#define APPENDS 4

static char block[65536];

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void write_file(const char *name, int flags, size_t size)
{
	int fd = open(name, O_WRONLY | flags, 0644);

	must(fd >= 0, name);
	must(size == 0 || write(fd, block, size) == (ssize_t)size, "write");
	close(fd);
}

static void fill(long count, size_t size)
{
	char name[64];

	for (long i = 0; i < count; i++) {
		long directory = i / PER_DIRECTORY;

		snprintf(name, sizeof(name), "%ld", directory % 1000);
		if (i % PER_DIRECTORY == 0 && mkdir(name, 0755) != 0)
			must(errno == EEXIST, name);
		snprintf(name, sizeof(name), "%ld/%ld", directory % 1000, directory);
		if (i % PER_DIRECTORY == 0) {
			must(seteuid(0) == 0 && mkdir(name, 0777) == 0 && chmod(name, 0777) == 0, name);
			must(seteuid(FIRST_USER + directory % USERS) == 0, "seteuid");
		}
		snprintf(name, sizeof(name), "%ld/%ld/%ld", directory % 1000, directory, i);
		write_file(name, O_CREAT | O_EXCL, size);
		if ((i + 1) % PER_DIRECTORY == 0)
			must(seteuid(0) == 0, "seteuid");
	}
	must(seteuid(0) == 0, "seteuid");
	sync();
}

static unsigned long long files, bytes, users[USERS + 1];

static int add(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	unsigned long user = st->st_uid - FIRST_USER;

	(void)path, (void)flag, (void)ftw;
	files++;
	bytes += st->st_blocks * 512ULL;
	users[user < USERS ? user : USERS] += st->st_blocks * 512ULL;
	return 0;
}

/* Seconds in which a CPU was idle or waited for a disk, of all CPUs. */
static double idle(void)
{
	FILE *file = fopen("/proc/stat", "r");
	double nothing = 0, waiting = 0;

	must(file && fscanf(file, "cpu %*f %*f %*f %lf %lf", &nothing, &waiting) == 2, "/proc/stat");
	fclose(file);
	return (nothing + waiting) / sysconf(_SC_CLK_TCK);
}

static void step(const char *what, double since[2])
{
	double wall = now() - since[0], busy = wall * sysconf(_SC_NPROCESSORS_ONLN) - (idle() - since[1]);

	printf("%s %.6f %.6f\n", what, wall, busy);
	since[0] = now();
	since[1] = idle();
}

static void work(long count, size_t size)
{
	char name[32];
	double since[2] = {now(), idle()};

	for (int phase = 0; phase < 2 + APPENDS; phase++) {
		for (long i = 0; i < count; i++) {
			snprintf(name, sizeof(name), "%ld", i);
			if (phase == 1 + APPENDS)
				must(unlink(name) == 0, name);
			else
				write_file(name, phase ? O_APPEND : O_CREAT | O_EXCL, phase ? size : 0);
		}
		if (phase == 0 || phase >= APPENDS) {
			int fd = open(".", O_RDONLY | O_DIRECTORY);

			must(fd >= 0 && syncfs(fd) == 0, "syncfs");
			close(fd);
			step(phase == 0 ? "create" : phase == APPENDS ? "append" : "unlink", since);
		}
	}
}

static void busy(void)
{
	char name[32], other[32];

	for (unsigned long i = 0;; i++) {
		snprintf(name, sizeof(name), "b%ld", random() % 200);
		snprintf(other, sizeof(other), "b%ld", random() % 200);
		write_file(name, O_CREAT | O_APPEND, random() % 8192);
		if (i % 3 == 0)
			(void)!rename(name, other);
		if (i % 5 == 0)
			unlink(other);
		if (i % 100 == 99 && write(1, "tick\n", 5) != 5)
			exit(1);
	}
}

int main(int argc, char **argv)
{
	memset(block, 'x', sizeof(block));
	if (argc == 4 && !strcmp(argv[1], "fill")) {
		fill(atol(argv[2]), strtoul(argv[3], NULL, 0));
	} else if (argc == 4 && !strcmp(argv[1], "work")) {
		work(atol(argv[2]), strtoul(argv[3], NULL, 0));
	} else if (argc == 2 && !strcmp(argv[1], "scan")) {
		must(nftw(".", add, 64, FTW_PHYS | FTW_MOUNT) == 0, "nftw");
		printf("%llu %llu\n", files, bytes);
	} else if (argc == 2 && !strcmp(argv[1], "busy")) {
		busy();
	} else {
		return 2;
	}
	return 0;
}

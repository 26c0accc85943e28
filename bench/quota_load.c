// SPDX-License-Identifier: GPL-2.0-or-later
/* Files for bench/quota.py, in the directory that is the working directory.
 *   fill COUNT SIZE   so many files of SIZE bytes, 100 in a directory, each directory of one of 16 users
 *   scan              stat of every inode, bytes and inodes added up for each user, as a quota scan does it: "FILES BYTES"
 *   work COUNT SIZE   makes COUNT files, appends to each four times, removes them; makes a quarter of them at once with its
 *                     SIZE bytes, each fsynced; and writes 64 MiB to one file. For each of it, with what is written to the disk
 *                     in the end, a line "STEP SECONDS BUSY WRITES KIB": BUSY the time for which tasks and kernel threads ran,
 *                     and what the disk was given
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
#include <sys/sysmacros.h>
#include <unistd.h>

#include "quota_c.h"

#define USERS 16
#define FIRST_USER 100000
#define PER_DIRECTORY 100
#define APPENDS 4
#define SYNCED 4
#define STREAM 1024

static char block[65536];

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

/* Seconds that all CPUs ran tasks, kernel threads among them; by the tick where the scheduler keeps no statistics. */
static double ran(void)
{
	FILE *file;
	char line[512];
	double sum = 0, nothing = 0, waiting = 0;
	unsigned long long one;

	/* A task is added up when it leaves its CPU: this one, and those that finish what it gave them. */
	usleep(1000);
	file = fopen("/proc/schedstat", "r");
	if (file) {
		while (fgets(line, sizeof(line), file))
			if (sscanf(line, "cpu%*u %*u %*u %*u %*u %*u %*u %llu", &one) == 1)
				sum += one / 1e9;
		fclose(file);
		return sum;
	}
	file = fopen("/proc/stat", "r");
	must(file && fscanf(file, "cpu %*f %*f %*f %lf %lf", &nothing, &waiting) == 2, "/proc/stat");
	fclose(file);
	return now() * sysconf(_SC_NPROCESSORS_ONLN) - (nothing + waiting) / sysconf(_SC_CLK_TCK);
}

/* What was written to the disk of the working directory: requests, KiB. */
static void written(double out[2])
{
	char path[64];
	struct stat st;
	FILE *file;

	must(stat(".", &st) == 0, "stat");
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_dev), minor(st.st_dev));
	file = fopen(path, "r");
	must(file && fscanf(file, "%*u %*u %*u %*u %lf %*u %lf", &out[0], &out[1]) == 2, path);
	fclose(file);
	out[1] /= 2;
}

struct moment {
	double wall, ran, disk[2];
};

static struct moment this_moment(void)
{
	struct moment m;

	m.ran = ran();
	written(m.disk);
	m.wall = now();
	return m;
}

/* The end of a step: with what it left to be written. Returns the beginning of the next one. */
static struct moment step(const char *what, struct moment since)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY);
	double wall, disk[2];

	must(fd >= 0 && syncfs(fd) == 0, "syncfs");
	close(fd);
	wall = now() - since.wall;
	written(disk);
	printf("%s %.6f %.6f %.0f %.0f\n", what, wall, ran() - since.ran, disk[0] - since.disk[0], disk[1] - since.disk[1]);
	return this_moment();
}

static void remove_files(long count)
{
	char name[32];

	for (long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%ld", i);
		must(unlink(name) == 0, name);
	}
}

static void work(long count, size_t size)
{
	char name[32];
	struct moment since = this_moment();
	int fd;

	for (int phase = 0; phase < 1 + APPENDS; phase++) {
		for (long i = 0; i < count; i++) {
			snprintf(name, sizeof(name), "%ld", i);
			write_file(name, phase ? O_APPEND : O_CREAT | O_EXCL, phase ? size : 0);
		}
		if (phase == 0 || phase == APPENDS)
			since = step(phase == 0 ? "create" : "append", since);
	}
	remove_files(count);
	since = step("unlink", since);
	for (long i = 0; i < count / SYNCED; i++) {
		snprintf(name, sizeof(name), "%ld", i);
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
		must(fd >= 0 && write(fd, block, size) == (ssize_t)size && fsync(fd) == 0, "a synced file");
		close(fd);
	}
	step("synced", since);
	remove_files(count / SYNCED);
	sync();
	since = this_moment();
	fd = open("stream", O_WRONLY | O_CREAT | O_EXCL, 0644);
	for (int i = 0; i < STREAM; i++)
		must(fd >= 0 && write(fd, block, sizeof(block)) == sizeof(block), "stream");
	close(fd);
	step("stream", since);
	must(unlink("stream") == 0, "stream");
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

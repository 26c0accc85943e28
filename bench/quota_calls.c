// SPDX-License-Identifier: GPL-2.0-or-later
/* What a system call of quotas takes, for bench/quota.py: prints nanoseconds per call, the least of several turns.
 *   outside|inside statfs|setxattr|getquota|setquota|next PATH FIRST
 * inside: as root of a user namespace that root made, whose ids 0 to 65535 are FIRST and the following. `next` lists all ids
 * that have a quota, from the first of the namespace on, and is divided by their number.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quota_c.h"

#define TURNS 20
#define CALLS 500

static int fd;
static unsigned int base;

static long quota(unsigned int command, unsigned int id, void *data)
{
	return syscall(SYS_quotactl_fd, fd, QCMD(command, USRQUOTA), id, data);
}

/* How many calls it were. */
static int turn(const char *operation)
{
	struct if_nextdqblk next;
	struct if_dqblk entry;
	struct fsxattr attr;
	struct statfs room;
	int calls = 0;

	if (!strcmp(operation, "next")) {
		/* The host's ids go on behind those of the container: as many as that has. */
		for (unsigned int id = base; calls < 1000 && quota(Q_GETNEXTQUOTA, id, &next) == 0; id = next.dqb_id + 1)
			calls++;
		must(calls == 1000, "Q_GETNEXTQUOTA");
		return calls;
	}
	must(ioctl(fd, FS_IOC_FSGETXATTR, &attr) == 0, "FS_IOC_FSGETXATTR");
	must(quota(Q_GETQUOTA, base + 3, &entry) == 0, "Q_GETQUOTA");
	entry.dqb_valid = QIF_LIMITS;
	for (; calls < CALLS; calls++) {
		if (!strcmp(operation, "statfs"))
			must(fstatfs(fd, &room) == 0, operation);
		else if (!strcmp(operation, "setxattr"))
			must(ioctl(fd, FS_IOC_FSSETXATTR, &attr) == 0, operation);
		else if (!strcmp(operation, "getquota"))
			must(quota(Q_GETQUOTA, base + 3, &entry) == 0, operation);
		else
			must(!strcmp(operation, "setquota") && quota(Q_SETQUOTA, base + 3, &entry) == 0, operation);
	}
	return calls;
}

static void write_map(pid_t pid, const char *name, unsigned int first)
{
	char path[64], line[64];
	int map, size = snprintf(line, sizeof(line), "0 %u 65536", first);

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	map = open(path, O_WRONLY);
	must(map >= 0 && write(map, line, size) == size, path);
	close(map);
}

/* Goes on in a child, as root of a user namespace; the parent ends with it. */
static void enter(unsigned int first)
{
	int made[2], mapped[2], status;
	char byte = 0;
	pid_t pid;

	must(pipe(made) == 0 && pipe(mapped) == 0, "pipe");
	pid = fork();
	must(pid >= 0, "fork");
	if (pid > 0) {
		must(read(made[0], &byte, 1) == 1, "the child");
		write_map(pid, "uid_map", first);
		write_map(pid, "gid_map", first);
		must(write(mapped[1], &byte, 1) == 1, "pipe");
		must(waitpid(pid, &status, 0) == pid, "waitpid");
		exit(status != 0);
	}
	must(unshare(CLONE_NEWUSER) == 0 && write(made[1], &byte, 1) == 1, "unshare");
	must(read(mapped[0], &byte, 1) == 1 && setgid(0) == 0 && setuid(0) == 0, "the maps");
}

int main(int argc, char **argv)
{
	double least = 0;

	if (argc != 5)
		return 2;
	fd = open(argv[3], O_RDONLY);
	must(fd >= 0, argv[3]);
	base = strtoul(argv[4], NULL, 0);
	if (!strcmp(argv[1], "inside")) {
		enter(base);
		base = 0;
	}
	for (int i = 0; i < TURNS; i++) {
		double began = now();
		int calls = turn(argv[2]);
		double one = (now() - began) * 1e9 / calls;

		if (!least || one < least)
			least = one;
	}
	printf("%.1f\n", least);
	return 0;
}

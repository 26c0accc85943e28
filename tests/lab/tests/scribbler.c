// SPDX-License-Identifier: GPL-2.0-or-later
/* Changes files of the current directory at random, as several users, until it is killed: append, truncate, fsync, rename,
 * link, unlink, directories, symbolic links, files that are deleted and held open. A full quota is no reason to stop. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES 64
#define HELD 8
#define USERS 4
#define MAX_WRITE 65536

static char block[MAX_WRITE];
static int held[HELD];

static const char *name(void)
{
	static char text[4][32];
	static int next;
	char *out = text[next++ % 4];

	snprintf(out, sizeof text[0], "%s%d", random() % 4 ? "" : "d/", (int)(random() % NAMES));
	return out;
}

static void append(void)
{
	int fd = open(name(), O_WRONLY | O_CREAT | O_APPEND, 0644);

	if (fd < 0)
		return;
	(void)!write(fd, block, 1 + random() % MAX_WRITE);
	if (random() % 4 == 0)
		fsync(fd);
	if (random() % 8 == 0)
		(void)!fchown(fd, random() % USERS, random() % USERS);
	close(fd);
}

/* Deleted and still there: the journal's list of orphans has them when the power goes. */
static void hold(void)
{
	int slot = random() % HELD;
	const char *file = name();
	int fd = open(file, O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		return;
	(void)!write(fd, block, 1 + random() % MAX_WRITE);
	unlink(file);
	if (held[slot] > 0)
		close(held[slot]);
	held[slot] = fd;
}

static void change(void)
{
	switch (random() % 16) {
	case 0:
		(void)!rename(name(), name());
		break;
	case 1:
		(void)!link(name(), name());
		break;
	case 2:
	case 3:
		unlink(name());
		break;
	case 4:
		(void)!symlink("/a/target/that/is/longer/than/what/fits/into/the/inode/itself/so/that/it/takes/a/block", name());
		break;
	case 5:
		(void)!truncate(name(), random() % (4 * MAX_WRITE));
		break;
	case 6:
		if (mkdir(name(), 0755) != 0)
			rmdir(name());
		break;
	case 7:
		hold();
		break;
	default:
		append();
	}
}

int main(int argc, char **argv)
{
	srandom(argc > 1 ? (unsigned int)atoi(argv[1]) : 1);
	memset(block, 'x', sizeof block);
	mkdir("d", 0755);
	for (unsigned long i = 1;; i++) {
		change();
		if (i % 50 == 0 && write(1, "tick\n", 5) != 5)
			return 1;
	}
}

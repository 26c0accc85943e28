// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/user_beancounters, /proc/bc and /proc/vz: links into /proc/fs/vz, an
 * empty directory in every instance of proc. Where vzfs is mounted on it they
 * lead somewhere, elsewhere they dangle and none of the three exists. All at
 * once: a /proc/vz without a /proc/bc is how programs tell that they are in a
 * container, which must not happen to the host because a module was loaded.
 */
#include <linux/proc_fs.h>

#include "internal.h"

static const struct {
	const char *name;
	const char *target;
} vz_links[] = {
	{ "user_beancounters", "fs/vz/user_beancounters" },
	{ "bc", "fs/vz/bc" },
	{ "vz", "fs/vz/vz" },
};

static void vz_links_remove(unsigned int count)
{
	while (count--)
		remove_proc_entry(vz_links[count].name, NULL);
	remove_proc_entry("fs/vz", NULL);
}

/* Permanently empty: a user namespace that has it covered may still mount a new proc. */
int vz_links_init(void)
{
	unsigned int n;

	if (!proc_create_mount_point("fs/vz"))
		return -ENOMEM;
	for (n = 0; n < ARRAY_SIZE(vz_links); n++) {
		if (!proc_symlink(vz_links[n].name, NULL, vz_links[n].target)) {
			vz_links_remove(n);
			return -ENOMEM;
		}
	}
	return 0;
}

void vz_links_exit(void)
{
	vz_links_remove(ARRAY_SIZE(vz_links));
}

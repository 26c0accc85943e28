// SPDX-License-Identifier: GPL-2.0-only
/*
 * vzfs: one read-only directory with files of /proc as the reader's container
 * has them. It is mounted once on the host; its files are bind-mounted over
 * those of a container's /proc.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "compat.h"
#include "internal.h"

#define VZFS_MAGIC	0x767a6673	/* "vzfs" */

/* Inode numbers: the index into vzfs_files; 1 is the root's. */
#define VZFS_FIRST	2

static int (*const vzfs_show[])(struct seq_file *m, void *unused) = {
	[VZFS_FIRST] = vz_show_meminfo,
	vz_show_stat,
	vz_show_uptime,
	vz_show_loadavg,
	vz_show_cpuinfo,
	vz_show_swaps,
};

static int vzfs_open(struct inode *inode, struct file *file)
{
	return single_open(file, vzfs_show[inode->i_ino], NULL);
}

static const struct file_operations vzfs_file_ops = {
	.owner = THIS_MODULE,
	.open = vzfs_open,
	.read_iter = seq_read_iter,
	.splice_read = copy_splice_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static const struct tree_descr vzfs_files[] = {
	[VZFS_FIRST] = { "meminfo", &vzfs_file_ops, 0444 },
	{ "stat", &vzfs_file_ops, 0444 },
	{ "uptime", &vzfs_file_ops, 0444 },
	{ "loadavg", &vzfs_file_ops, 0444 },
	{ "cpuinfo", &vzfs_file_ops, 0444 },
	{ "swaps", &vzfs_file_ops, 0444 },
	{ "" },
};

static int vzfs_fill_super(struct super_block *sb, struct fs_context *fc)
{
	/* Read-only for good: nobody's root may chmod a file that all containers share. */
	sb->s_flags |= SB_RDONLY | SB_NOATIME;
	sb->s_iflags |= SB_I_NOEXEC | SB_I_NODEV;
	return simple_fill_super(sb, VZFS_MAGIC, vzfs_files);
}

static int vzfs_get_tree(struct fs_context *fc)
{
	return get_tree_single(fc, vzfs_fill_super);
}

static int vzfs_reconfigure(struct fs_context *fc)
{
	fc->sb_flags |= SB_RDONLY;
	return 0;
}

static const struct fs_context_operations vzfs_context_ops = {
	.get_tree = vzfs_get_tree,
	.reconfigure = vzfs_reconfigure,
};

static int vzfs_init_fs_context(struct fs_context *fc)
{
	fc->ops = &vzfs_context_ops;
	return 0;
}

/* Not mountable in a user namespace; its files are for everybody. */
static struct file_system_type vzfs_type = {
	.owner = THIS_MODULE,
	.name = "vzfs",
	.init_fs_context = vzfs_init_fs_context,
	.kill_sb = vz_kill_sb,
	.fs_flags = FS_ALLOW_IDMAP,
};

int vzfs_init(void)
{
	return register_filesystem(&vzfs_type);
}

void vzfs_exit(void)
{
	unregister_filesystem(&vzfs_type);
}

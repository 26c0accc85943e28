// SPDX-License-Identifier: GPL-2.0-only
/*
 * vzfs: a read-only file system with what /proc has in a container. There is
 * one of it. Its root is for the host, and its files for /proc are bind-mounted
 * over those of a container, ct over its /proc/fs/vz. Nothing is kept: a name
 * is looked up whenever somebody asks for it.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

#define VZFS_MAGIC	0x767a6673	/* "vzfs" */

/* Directories by their index in vzfs_nodes[]. */
enum {
	VZFS_ROOT,
	VZFS_VZ,
	VZFS_BC,
	VZFS_BC_ID,			/* one for each container */
	VZFS_CT,
	VZFS_CT_VZ,
	VZFS_DIRS,
};

struct vzfs_node {
	const char *name;		/* NULL: a number */
	unsigned int parent;
	umode_t mode;
	int (*show)(struct seq_file *m, void *unused);
	const struct vz_list_format *list;
};

static const struct vzfs_node vzfs_nodes[] = {
	[VZFS_ROOT] = { "", VZFS_ROOT, S_IFDIR | 0555 },
	[VZFS_VZ] = { "vz", VZFS_ROOT, S_IFDIR | 0555 },
	[VZFS_BC] = { "bc", VZFS_ROOT, S_IFDIR | 0500 },
	[VZFS_BC_ID] = { NULL, VZFS_BC, S_IFDIR | 0500 },
	[VZFS_CT] = { "ct", VZFS_ROOT, S_IFDIR | 0555 },
	[VZFS_CT_VZ] = { "vz", VZFS_CT, S_IFDIR | 0555 },

	[VZFS_DIRS] = { "meminfo", VZFS_ROOT, S_IFREG | 0444, vz_show_meminfo },
	{ "stat", VZFS_ROOT, S_IFREG | 0444, vz_show_stat },
	{ "uptime", VZFS_ROOT, S_IFREG | 0444, vz_show_uptime },
	{ "loadavg", VZFS_ROOT, S_IFREG | 0444, vz_show_loadavg },
	{ "cpuinfo", VZFS_ROOT, S_IFREG | 0444, vz_show_cpuinfo },
	{ "swaps", VZFS_ROOT, S_IFREG | 0444, vz_show_swaps },
	{ "user_beancounters", VZFS_ROOT, S_IFREG | 0400, .list = &vz_user_beancounters },

	{ "version", VZFS_VZ, S_IFREG | 0444, vz_show_version },
	{ "vswap", VZFS_VZ, S_IFREG | 0444, vz_show_vswap },
	{ "veinfo", VZFS_VZ, S_IFREG | 0400, .list = &vz_veinfo },
	{ "vestat", VZFS_VZ, S_IFREG | 0400, .list = &vz_vestat },
	{ "veip", VZFS_VZ, S_IFREG | 0400, .list = &vz_veip },

	{ "resources", VZFS_BC, S_IFREG | 0400, .list = &vz_bc_resources },
	{ "resources", VZFS_BC_ID, S_IFREG | 0400, vz_show_bc_resources },
	{ "ioacct", VZFS_BC_ID, S_IFREG | 0400, vz_show_bc_ioacct },
	{ "vmaux", VZFS_BC_ID, S_IFREG | 0400, vz_show_bc_vmaux },
	{ "meminfo", VZFS_BC_ID, S_IFREG | 0400, vz_show_bc_meminfo },
	{ "tasks", VZFS_BC_ID, S_IFREG | 0400, vz_show_bc_tasks },

	{ "user_beancounters", VZFS_CT, S_IFREG | 0400, .list = &vz_user_beancounters },
	{ "version", VZFS_CT_VZ, S_IFREG | 0444, vz_show_version },
	{ "vswap", VZFS_CT_VZ, S_IFREG | 0444, vz_show_vswap },
	{ "veinfo", VZFS_CT_VZ, S_IFREG | 0400, .list = &vz_veinfo },
	{ "vestat", VZFS_CT_VZ, S_IFREG | 0400, .list = &vz_vestat },
};

/* Inode numbers: which container, 0 for none, and which node, counted from 1. */
#define VZFS_NODE_BITS	8

static u64 vzfs_ino(unsigned int node, u32 ctid)
{
	return (u64)ctid << VZFS_NODE_BITS | (node + 1);
}

static unsigned int vzfs_node_of(const struct inode *inode)
{
	return (inode->i_ino & GENMASK(VZFS_NODE_BITS - 1, 0)) - 1;
}

/* The container of an open file in bc/ID. */
u32 vzfs_ctid(const struct seq_file *m)
{
	return file_inode(m->file)->i_ino >> VZFS_NODE_BITS;
}

static int vzfs_open(struct inode *inode, struct file *file)
{
	const struct vzfs_node *node = &vzfs_nodes[vzfs_node_of(inode)];
	static struct lock_class_key key;
	struct seq_file *m;
	int ret;

	ret = node->list ? vz_list_open(file, node->list) : single_open(file, node->show, NULL);
	if (ret)
		return ret;
	/* the host's own file, of the usual class, is read with this one locked */
	m = file->private_data;
	lockdep_set_class(&m->lock, &key);
	return 0;
}

static int vzfs_release(struct inode *inode, struct file *file)
{
	if (!vzfs_nodes[vzfs_node_of(inode)].list)
		return single_release(inode, file);
	vz_list_close(file);
	return seq_release_private(inode, file);
}

static const struct file_operations vzfs_file_ops = {
	.owner = THIS_MODULE,
	.open = vzfs_open,
	.read_iter = seq_read_iter,
	.splice_read = copy_splice_read,
	.llseek = seq_lseek,
	.release = vzfs_release,
};

/* Positions: the dots, the nodes, then the containers by number. */
static bool vzfs_emit_nodes(struct dir_context *ctx, unsigned int dir, u32 ctid)
{
	const struct vzfs_node *node;
	unsigned int n;

	for (n = ctx->pos - 2; n < ARRAY_SIZE(vzfs_nodes); n++, ctx->pos++) {
		node = &vzfs_nodes[n];
		if (n == VZFS_ROOT || node->parent != dir || !node->name)
			continue;
		if (!dir_emit(ctx, node->name, strlen(node->name), vzfs_ino(n, ctid),
			      S_DT(node->mode)))
			return false;
	}
	return true;
}

static int vzfs_emit_containers(struct dir_context *ctx)
{
	const loff_t first = 2 + ARRAY_SIZE(vzfs_nodes);
	struct vz_list *list = vz_list_make();
	char name[16];
	unsigned int n;
	int len;

	if (IS_ERR(list))
		return PTR_ERR(list);
	for (n = 0; n < list->count; n++) {
		if (!list->item[n].ctid || first + list->item[n].ctid < ctx->pos)
			continue;
		ctx->pos = first + list->item[n].ctid;
		len = snprintf(name, sizeof(name), "%u", list->item[n].ctid);
		if (!dir_emit(ctx, name, len, vzfs_ino(VZFS_BC_ID, list->item[n].ctid), DT_DIR))
			break;
		ctx->pos++;
	}
	kvfree(list);
	return 0;
}

static int vzfs_iterate(struct file *file, struct dir_context *ctx)
{
	const struct inode *inode = file_inode(file);
	unsigned int dir = vzfs_node_of(inode);

	if (!dir_emit_dots(file, ctx))
		return 0;
	if (ctx->pos < 2 + ARRAY_SIZE(vzfs_nodes) &&
	    !vzfs_emit_nodes(ctx, dir, inode->i_ino >> VZFS_NODE_BITS))
		return 0;
	return dir == VZFS_BC ? vzfs_emit_containers(ctx) : 0;
}

static const struct file_operations vzfs_dir_ops = {
	.owner = THIS_MODULE,
	.read = generic_read_dir,
	.iterate_shared = vzfs_iterate,
	.llseek = generic_file_llseek,
};

static struct inode *vzfs_inode(struct super_block *sb, unsigned int n, u32 ctid);

static int vzfs_find(const struct inode *dir, const char *name)
{
	unsigned int n;

	for (n = VZFS_ROOT + 1; n < ARRAY_SIZE(vzfs_nodes); n++) {
		if (vzfs_nodes[n].parent == vzfs_node_of(dir) && vzfs_nodes[n].name &&
		    !strcmp(vzfs_nodes[n].name, name))
			return n;
	}
	return -ENOENT;
}

/* The name of a container as it is listed; not 0101, nor +101. */
static u32 vzfs_parse_ctid(const char *name)
{
	struct vz_view view;
	u32 ctid;

	if (name[0] < '1' || name[0] > '9' || kstrtou32(name, 10, &ctid) ||
	    !vz_view_find_ctid(ctid, &view))
		return 0;
	vz_view_put(&view);
	return ctid;
}

static struct dentry *vzfs_lookup(struct inode *dir, struct dentry *dentry, unsigned int flags)
{
	u32 ctid = dir->i_ino >> VZFS_NODE_BITS;
	int n = vzfs_find(dir, dentry->d_name.name);

	if (n < 0 && vzfs_node_of(dir) == VZFS_BC) {
		ctid = vzfs_parse_ctid(dentry->d_name.name);
		n = ctid ? VZFS_BC_ID : -ENOENT;
	}
	if (n < 0)
		return ERR_PTR(n);
	return d_splice_alias(vzfs_inode(dir->i_sb, n, ctid), dentry);
}

static const struct inode_operations vzfs_dir_inode_ops = {
	.lookup = vzfs_lookup,
};

static struct inode *vzfs_inode(struct super_block *sb, unsigned int n, u32 ctid)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return ERR_PTR(-ENOMEM);
	inode->i_ino = vzfs_ino(n, ctid);
	inode->i_mode = vzfs_nodes[n].mode;
	simple_inode_init_ts(inode);
	if (S_ISDIR(inode->i_mode)) {
		inode->i_op = &vzfs_dir_inode_ops;
		inode->i_fop = &vzfs_dir_ops;
		set_nlink(inode, 2);
	} else {
		inode->i_fop = &vzfs_file_ops;
	}
	return inode;
}

/* Containers come and go. */
static const struct dentry_operations vzfs_dentry_ops = {
	.d_delete = always_delete_dentry,
};

static const struct super_operations vzfs_super_ops = {
	.statfs = simple_statfs,
};

static int vzfs_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct inode *root;

	/* Read-only for good: nobody's root may chmod a file that all containers share. */
	sb->s_flags |= SB_RDONLY | SB_NOATIME;
	sb->s_iflags |= SB_I_NOEXEC | SB_I_NODEV;
	sb->s_magic = VZFS_MAGIC;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_time_gran = 1;
	sb->s_op = &vzfs_super_ops;
	vz_set_d_op(sb, &vzfs_dentry_ops);
	root = vzfs_inode(sb, VZFS_ROOT, 0);
	if (IS_ERR(root))
		return PTR_ERR(root);
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
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

/* Not mountable in a user namespace. */
static struct file_system_type vzfs_type = {
	.owner = THIS_MODULE,
	.name = "vzfs",
	.init_fs_context = vzfs_init_fs_context,
	.kill_sb = kill_anon_super,
	.fs_flags = FS_ALLOW_IDMAP,
};

int vzfs_init(void)
{
	BUILD_BUG_ON(ARRAY_SIZE(vzfs_nodes) >= BIT(VZFS_NODE_BITS));
	return register_filesystem(&vzfs_type);
}

void vzfs_exit(void)
{
	unregister_filesystem(&vzfs_type);
}

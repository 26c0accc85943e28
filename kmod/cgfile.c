// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files of a cgroup's controllers, read without a mount. Most of what a
 * controller counts is private to it; its files tell, and the functions behind
 * them can be called for any group whose css is held. They find it by the open
 * file that they think they have: this makes them one.
 */
#include <linux/cgroup.h>
#include <linux/kernfs.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

/* memory.stat has 4 KB at most, io.stat a line per device. */
#define VZ_CGFILE_SIZE	SZ_32K

struct vz_cgfile {
	struct cgroup *cgrp;		/* only its subsys[] is looked at */
	struct kernfs_node dir;
	struct kernfs_node node;
	struct kernfs_open_file open;
	struct seq_file seq;
	char text[VZ_CGFILE_SIZE];
};

/* Large: for many groups, one after another. NULL without memory. */
struct vz_cgfile *vz_cgfile_new(void)
{
	struct vz_cgfile *file = kvzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);

	if (!file)
		return NULL;
	file->cgrp = kzalloc_obj(*file->cgrp, GFP_KERNEL_ACCOUNT);
	if (!file->cgrp) {
		kvfree(file);
		return NULL;
	}
	file->dir.priv = file->cgrp;
	vz_set_parent(&file->node, &file->dir);
	file->open.kn = &file->node;
	file->seq.private = &file->open;
	file->seq.buf = file->text;
	return file;
}

void vz_cgfile_free(struct vz_cgfile *file)
{
	if (!file)
		return;
	kfree(file->cgrp);
	kvfree(file);
}

/* A group's own state of a controller, held; NULL if it has none. */
static struct cgroup_subsys_state *vz_css_get(struct cgroup *cgrp, int subsys)
{
	struct cgroup_subsys_state *css;

	rcu_read_lock();
	css = rcu_dereference(cgrp->subsys[subsys]);
	if (css && !css_tryget(css))
		css = NULL;
	rcu_read_unlock();
	return css;
}

static struct cftype *vz_cftype(struct cgroup_subsys *ss, const char *name)
{
	struct cftype *cft;

	for (cft = ss->dfl_cftypes; cft && cft->name[0]; cft++) {
		if (!strcmp(cft->name, name))
			return cft;
	}
	return NULL;
}

static int vz_cgfile_show(struct vz_cgfile *file, struct cgroup_subsys_state *css,
			  struct cftype *cft)
{
	int ret;

	if (!cft || !cft->seq_show)
		return -ENOENT;
	file->dir.dir.root = css->cgroup->kn->dir.root;
	file->node.priv = cft;
	file->seq.count = 0;
	file->seq.size = VZ_CGFILE_SIZE - 1;
	RCU_INIT_POINTER(file->cgrp->subsys[css->ss->id], css);
	ret = cft->seq_show(&file->seq, NULL);
	RCU_INIT_POINTER(file->cgrp->subsys[css->ss->id], NULL);
	if (!ret && seq_has_overflowed(&file->seq))
		ret = -EFBIG;
	return ret;
}

/**
 * vz_cgfile_text() - what a file of a controller has to say
 * @file: where to put it; valid until the next call
 * @cgrp: the group, held by the caller
 * @subsys: the controller, memory_cgrp_id and so on
 * @name: of the file, without the controller's
 *
 * Return: text; NULL if the group has no such file, or for want of memory.
 */
const char *vz_cgfile_text(struct vz_cgfile *file, struct cgroup *cgrp, int subsys,
			   const char *name)
{
	struct cgroup_subsys_state *css = vz_css_get(cgrp, subsys);
	int ret;

	if (!css)
		return NULL;
	ret = vz_cgfile_show(file, css, vz_cftype(css->ss, name));
	css_put(css);
	if (ret)
		return NULL;
	file->text[file->seq.count] = '\0';
	return file->text;
}

/* The same for a file that is one number; false if there is none. */
bool vz_cgfile_number(struct cgroup *cgrp, int subsys, const char *name, u64 *value)
{
	struct cgroup_subsys_state *css = vz_css_get(cgrp, subsys);
	struct cftype *cft;
	bool found = true;

	if (!css)
		return false;
	cft = vz_cftype(css->ss, name);
	if (cft && cft->read_s64)
		*value = max(cft->read_s64(css, cft), 0LL);
	else if (cft && cft->read_u64)
		*value = cft->read_u64(css, cft);
	else
		found = false;
	css_put(css);
	return found;
}

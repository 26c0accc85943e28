// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/user_beancounters and the files of /proc/bc, byte by byte as OpenVZ's
 * kernel for 64 bits writes them. Rows that a stock kernel has no number for
 * are left out where the file is a list of keys, and 0 where it is a table.
 */
#include <linux/memcontrol.h>
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>

#include "internal.h"

static const char *const vz_ub_names[VZ_UB_ROWS] = {
	"kmemsize", "lockedpages", "privvmpages", "shmpages", NULL,
	"numproc", "physpages", "vmguarpages", "oomguarpages", "numtcpsock",
	"numflock", "numpty", "numsiginfo", "tcpsndbuf", "tcprcvbuf",
	"othersockbuf", "dgramrcvbuf", "numothersock", "dcachesize", "numfile",
	NULL, NULL, NULL, "numiptent", "swappages",
};

static void vz_put_ub_head(struct seq_file *m)
{
	seq_puts(m, "Version: 2.5\n");
	seq_printf(m, "%10s  %-12s %20s %20s %20s %20s %20s\n",
		   "uid", "resource", "held", "maxheld", "barrier", "limit", "failcnt");
}

static void vz_put_ub_row(struct seq_file *m, const char *uid, unsigned int n,
			  const struct vz_ub_row *row)
{
	bool dummy = !vz_ub_names[n];

	seq_printf(m, "%10s  %-12s %20llu %20llu %20llu %20llu %20llu\n",
		   uid, dummy ? "dummy" : vz_ub_names[n], dummy ? 0 : row->held,
		   dummy ? 0 : row->maxheld, row->barrier, row->limit, dummy ? 0 : row->failcnt);
}

/* The 24 of OpenVZ 5, with four that mean nothing; swappages is none of them. */
static void vz_put_user_beancounters(struct seq_file *m, u32 ctid, const struct vz_ub_set *set)
{
	unsigned int n;
	char uid[16];

	snprintf(uid, sizeof(uid), "%u:", ctid);
	for (n = 0; n < VZ_UB_SWAPPAGES; n++)
		vz_put_ub_row(m, n ? "" : uid, n, &set->row[n]);
}

static void vz_put_resources(struct seq_file *m, const char *uid, const struct vz_ub_set *set)
{
	unsigned int n;

	for (n = 0; n < VZ_UB_ROWS; n++) {
		if (vz_ub_names[n])
			vz_put_ub_row(m, n ? "" : uid, n, &set->row[n]);
	}
}

static void vz_put_bc_resources(struct seq_file *m, u32 ctid, const struct vz_ub_set *set)
{
	char uid[16];

	snprintf(uid, sizeof(uid), "%u:", ctid);
	vz_put_resources(m, uid, set);
}

const struct vz_list_format vz_user_beancounters = {
	.head = vz_put_ub_head,
	.counters = vz_put_user_beancounters,
};

const struct vz_list_format vz_bc_resources = {
	.head = vz_put_ub_head,
	.counters = vz_put_bc_resources,
};

/* The container of a file in bc/ID; a reader in a container has none but its own. */
static bool vz_bc_view(struct seq_file *m, struct vz_view *view)
{
	u64 reader = vz_ct_of_reader();

	if (!vz_view_find_ctid(vzfs_ctid(m), view))
		return false;
	if (!reader || reader == view->info.cgroup_id)
		return true;
	vz_view_put(view);
	return false;
}

int vz_show_bc_resources(struct seq_file *m, void *unused)
{
	struct vz_ub_maps *maps;
	struct vz_cgfile *file;
	struct vz_ub_set *set;
	struct vz_view view;
	int ret = -ENOMEM;

	if (!vz_bc_view(m, &view))
		return -ENOENT;
	file = vz_cgfile_new();
	set = kmalloc_obj(*set, GFP_KERNEL_ACCOUNT);
	maps = vz_ub_maps_get();
	if (file && set)
		ret = maps ? vz_ub_refresh(maps) : 0;
	if (!ret) {
		vz_ub_of(&view, maps, file, set);
		vz_put_resources(m, "", set);
	}
	if (maps)
		vz_ub_maps_put(maps);
	kfree(set);
	vz_cgfile_free(file);
	vz_view_put(&view);
	return ret;
}

static void vz_put_bc_value(struct seq_file *m, const char *key, u64 value)
{
	seq_printf(m, "\t%-20s %21llu\n", key, value);
}

/* A row for a line that the text has. */
static void vz_put_bc_stat(struct seq_file *m, const char *key, const char *text, const char *line,
			   unsigned int unit)
{
	if (text && strstr(text, line))
		vz_put_bc_value(m, key, vz_host_value(text, line) / unit);
}

/* Calls put with the container's control group and something to read its files with. */
static int vz_show_bc(struct seq_file *m,
		      void (*put)(struct seq_file *m, struct cgroup *cgrp, struct vz_cgfile *file))
{
	struct vz_cgfile *file;
	struct vz_view view;

	if (!vz_bc_view(m, &view))
		return -ENOENT;
	file = vz_cgfile_new();
	if (file)
		put(m, view.cgrp, file);
	vz_cgfile_free(file);
	vz_view_put(&view);
	return file ? 0 : -ENOMEM;
}

#ifdef CONFIG_BLK_CGROUP
/* Over all lines: a device each. */
static u64 vz_io_sum(const char *text, const char *key)
{
	u64 sum = 0;

	for (text = strstr(text, key); text; text = strstr(text + 1, key))
		sum += vz_host_value(text, key);
	return sum;
}

static void vz_put_io(struct seq_file *m, struct cgroup *cgrp, struct vz_cgfile *file)
{
	const char *text = vz_cgfile_text(file, cgrp, io_cgrp_id, "stat");

	if (!text)
		return;
	vz_put_bc_value(m, "read", vz_io_sum(text, " rbytes="));
	vz_put_bc_value(m, "write", vz_io_sum(text, " wbytes="));
}
#else
static void vz_put_io(struct seq_file *m, struct cgroup *cgrp, struct vz_cgfile *file)
{
}
#endif

static void vz_put_ioacct(struct seq_file *m, struct cgroup *cgrp, struct vz_cgfile *file)
{
	vz_put_io(m, cgrp, file);
	vz_put_bc_stat(m, "io_pbs", vz_cgfile_text(file, cgrp, memory_cgrp_id, "stat"),
		       "file_dirty ", SZ_4K);
}

static void vz_put_vmaux(struct seq_file *m, struct cgroup *cgrp, struct vz_cgfile *file)
{
	const char *text = vz_cgfile_text(file, cgrp, memory_cgrp_id, "stat");
	struct mem_cgroup *memcg = vz_memcg_get_own(cgrp);
	struct vz_memory memory;

	vz_put_bc_stat(m, "tmpfs_respages", text, "shmem ", SZ_4K);
	vz_put_bc_stat(m, "swapin", text, "pswpin ", 1);
	vz_put_bc_stat(m, "swapout", text, "pswpout ", 1);
	if (!memcg)
		return;
	vz_memory_of(memcg, &memory);
	vz_memcg_put(memcg);
	vz_put_bc_value(m, "ram", memory.ram_usage);
	vz_put_bc_value(m, "swap_entries", memory.swap_usage);
}

int vz_show_bc_ioacct(struct seq_file *m, void *unused)
{
	return vz_show_bc(m, vz_put_ioacct);
}

int vz_show_bc_vmaux(struct seq_file *m, void *unused)
{
	return vz_show_bc(m, vz_put_vmaux);
}

int vz_show_bc_meminfo(struct seq_file *m, void *unused)
{
	struct vz_view view;
	int ret;

	if (!vz_bc_view(m, &view))
		return -ENOENT;
	ret = vz_show_meminfo_of(m, &view);
	vz_view_put(&view);
	return ret;
}

/* Not of OpenVZ, whose /proc/PID/status says the same: pid here, pid inside. */
int vz_show_bc_tasks(struct seq_file *m, void *unused)
{
	struct task_struct *task;
	struct vz_view view;
	struct vz_ct *ct;

	if (!vz_bc_view(m, &view))
		return -ENOENT;
	rcu_read_lock();
	for_each_process(task) {
		ct = vz_ct_around(task_dfl_cgroup(task));
		if (ct && ct->info.cgroup_id == view.info.cgroup_id)
			seq_printf(m, "%10d %10d\n", task_tgid_vnr(task),
				   task_tgid_nr_ns(task, task_active_pid_ns(task)));
	}
	rcu_read_unlock();
	vz_view_put(&view);
	return 0;
}

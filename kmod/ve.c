// SPDX-License-Identifier: GPL-2.0-only
/* The files of /proc/vz, byte by byte as OpenVZ's kernel for 64 bits writes them. */
#include <linux/in6.h>
#include <linux/math64.h>
#include <linux/sched/loadavg.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "internal.h"

/* Of all containers that ever were; the host has none. */
#define VZ_CLASS	2

int vz_show_version(struct seq_file *m, void *unused)
{
	seq_puts(m, VZ_VERSION "\n");
	return 0;
}

/* That there is such a file tells tools that RAM and swap are all they need to set. */
int vz_show_vswap(struct seq_file *m, void *unused)
{
	seq_puts(m, "Version: 1.0\n");
	return 0;
}

static void vz_put_addr(struct seq_file *m, const struct vz_addr *addr, int width)
{
	char text[40];

	if (addr->type == VZ_ADDR_IPV4) {
		snprintf(text, sizeof(text), "%pI4", &addr->ipv4);
		seq_printf(m, "%*s", width, text);
	} else {
		seq_printf(m, "%pI6", &addr->ipv6);
	}
}

/* Calls put for each address of a container. */
static void vz_put_addrs(struct seq_file *m, const struct vz_view *view,
			 void (*put)(struct seq_file *m, u32 ctid, const struct vz_addr *addr))
{
	const struct vz_addrs *addrs;
	const struct vz_ct *ct;
	unsigned int n;

	rcu_read_lock();
	ct = vz_ct_lookup(view->info.cgroup_id);
	addrs = ct ? rcu_dereference(ct->addrs) : NULL;
	for (n = 0; addrs && n < addrs->count; n++)
		put(m, view->info.ctid, &addrs->addr[n]);
	rcu_read_unlock();
}

static void vz_put_veinfo_addr(struct seq_file *m, u32 ctid, const struct vz_addr *addr)
{
	seq_putc(m, ' ');
	vz_put_addr(m, addr, 15);
}

#ifdef CONFIG_CGROUP_PIDS
static u64 vz_tasks_of(const struct vz_view *view)
{
	u64 tasks;

	if (vz_cgfile_number(view->cgrp, pids_cgrp_id, "current", &tasks))
		return tasks;
	return view->load.threads;
}
#else
static u64 vz_tasks_of(const struct vz_view *view)
{
	return view->load.threads;
}
#endif

static u64 vz_tasks_inside(void)
{
	struct vz_list *list = vz_list_make();
	struct vz_view view;
	unsigned int n;
	u64 sum = 0;

	if (IS_ERR(list))
		return 0;
	for (n = 0; n < list->count; n++) {
		if (!list->item[n].cgroup_id || !vz_view_find(list->item[n].cgroup_id, &view))
			continue;
		sum += view.nested ? 0 : vz_tasks_of(&view);
		vz_view_put(&view);
	}
	kvfree(list);
	return sum;
}

static u64 vz_tasks_of_host(void)
{
	u64 all = vz_all_threads();

	return all - min(all, vz_tasks_inside());
}

static void vz_put_veinfo(struct seq_file *m, u32 ctid, const struct vz_view *view)
{
	seq_printf(m, "%10u %5u %5llu", ctid, view ? VZ_CLASS : 0,
		   view ? vz_tasks_of(view) : vz_tasks_of_host());
	if (view)
		vz_put_addrs(m, view, vz_put_veinfo_addr);
	seq_putc(m, '\n');
}

const struct vz_list_format vz_veinfo = {
	.row = vz_put_veinfo,
};

static void vz_put_veip_head(struct seq_file *m)
{
	seq_puts(m, "Version: 2.5\n");
}

static void vz_put_veip_addr(struct seq_file *m, u32 ctid, const struct vz_addr *addr)
{
	vz_put_addr(m, addr, 39);
	seq_printf(m, " %10u\n", ctid);
}

static void vz_put_veip(struct seq_file *m, u32 ctid, const struct vz_view *view)
{
	if (view)
		vz_put_addrs(m, view, vz_put_veip_addr);
}

const struct vz_list_format vz_veip = {
	.head = vz_put_veip_head,
	.row = vz_put_veip,
};

static void vz_put_vestat_head(struct seq_file *m)
{
	seq_printf(m, "%-251s\n", "Version: 2.2");
	seq_printf(m, "%20s %20s %20s %20s %20s %20s %20s %20s %20s %20s %20s %20s\n",
		   "VEID", "user", "nice", "system", "uptime", "idle", "strv", "uptime", "used",
		   "maxlat", "totlat", "numsched");
}

static u64 vz_jiffies(u64 ns)
{
	return div_u64(ns, NSEC_PER_SEC / HZ);
}

/* Jiffies up to the first uptime, then nanoseconds; latencies were of another scheduler. */
static void vz_put_vestat(struct seq_file *m, u32 ctid, const struct vz_view *view)
{
	struct vz_cpu_time time;
	u64 uptime_ns;

	if (!view)
		return;
	vz_cpu_time_of(view, &time);
	uptime_ns = vz_uptime_ns(view);
	seq_printf(m, "%20u %20llu %20llu %20llu %20llu %20llu %20u %20llu %20llu %20u %20u %20u\n",
		   ctid, vz_jiffies(time.user_ns), vz_jiffies(time.nice_ns),
		   vz_jiffies(time.system_ns), vz_jiffies(uptime_ns), vz_idle_ns(view, &time), 0,
		   uptime_ns, time.user_ns + time.nice_ns + time.system_ns, 0, 0, 0);
}

const struct vz_list_format vz_vestat = {
	.head = vz_put_vestat_head,
	.row = vz_put_vestat,
};

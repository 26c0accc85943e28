// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files of vzfs. A reader in no registered container gets the host's text
 * unchanged. In a container each file has the format of its namesake, because
 * programs parse these; what the kernel does not count per cgroup is 0.
 */
#include <linux/cpumask.h>
#include <linux/idr.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/sched/loadavg.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "internal.h"

#define VZ_KB_PER_PAGE	(PAGE_SIZE / SZ_1K)

static int vz_show_host(struct seq_file *m, const char *name)
{
	char *text = vz_host_text(name);

	if (IS_ERR(text))
		return PTR_ERR(text);
	seq_puts(m, text);
	kvfree(text);
	return 0;
}

/* CPUs that the container is shown: those it was given, or all that the reader may run on. */
static unsigned int vz_cpus(const struct vz_view *view)
{
	unsigned int online = num_online_cpus();
	unsigned int cpus = view->info.cpus ?: cpumask_weight(current->cpus_ptr);

	return clamp(cpus, 1U, online);
}

u64 vz_uptime_ns(const struct vz_view *view)
{
	u64 now = ktime_get_boottime_ns();

	return now - min(now, view->info.boot_ns);
}

/* What the CPUs that are shown did not do for the container. */
u64 vz_idle_ns(const struct vz_view *view, const struct vz_cpu_time *used)
{
	u64 all = vz_uptime_ns(view) * vz_cpus(view);

	return all - min(all, used->user_ns + used->nice_ns + used->system_ns);
}

struct vz_meminfo {
	unsigned long total, free, swap_total, swap_free;
	unsigned long lru[NR_LRU_LISTS];
	unsigned long anon, file, shmem, mapped, dirty, writeback, swapcached;
	unsigned long reclaimable, unreclaimable, stacks, tables, percpu;
};

/* The host's swap bounds what a container is promised. */
static unsigned long vz_host_swap(void)
{
	char *text = vz_host_text("meminfo");
	unsigned long pages;

	if (IS_ERR(text))
		return 0;
	pages = vz_host_value(text, "SwapTotal:") / VZ_KB_PER_PAGE;
	kvfree(text);
	return pages;
}

static void vz_add_totals(struct mem_cgroup *memcg, struct vz_meminfo *info)
{
	struct vz_memory memory;

	vz_memory_of(memcg, &memory);
	info->total = min(memory.ram_limit, totalram_pages());
	info->free = info->total - min(info->total, memory.ram_usage);
	info->swap_total = min(memory.swap_limit, vz_host_swap());
	info->swap_free = info->swap_total - min(info->swap_total, memory.swap_usage);
}

/* What only the kernel's own text tells of a memcg: in bytes there, in pages here. */
static int vz_add_stat(struct mem_cgroup *memcg, struct vz_meminfo *info)
{
	const struct {
		const char *key;
		unsigned long *pages;
	} rows[] = {
		{ "anon ", &info->anon },
		{ "file ", &info->file },
		{ "shmem ", &info->shmem },
		{ "file_mapped ", &info->mapped },
		{ "file_dirty ", &info->dirty },
		{ "file_writeback ", &info->writeback },
		{ "swapcached ", &info->swapcached },
		{ "slab_reclaimable ", &info->reclaimable },
		{ "slab_unreclaimable ", &info->unreclaimable },
		{ "kernel_stack ", &info->stacks },
		{ "pagetables ", &info->tables },
		{ "percpu ", &info->percpu },
	};
	struct vz_cgfile *file = vz_cgfile_new();
	const char *text;
	unsigned int n;

	if (!file)
		return -ENOMEM;
	text = vz_cgfile_text(file, memcg->css.cgroup, memory_cgrp_id, "stat");
	for (n = 0; n < ARRAY_SIZE(rows); n++)
		*rows[n].pages = vz_host_value(text, rows[n].key) / PAGE_SIZE;
	vz_cgfile_free(file);
	return text ? 0 : -ENOENT;
}

/* -ENODATA where the host's memory is the container's. */
static int vz_meminfo_of(const struct vz_view *view, struct vz_meminfo *info)
{
	struct mem_cgroup *memcg = vz_memcg_get(view->cgrp);
	int ret;

	if (!memcg)
		return -ENODATA;
	vz_add_totals(memcg, info);
	vz_memcg_lru(memcg, info->lru);
	ret = vz_add_stat(memcg, info);
	vz_memcg_put(memcg);
	return ret;
}

static void vz_put_kb(struct seq_file *m, const char *key, unsigned long pages)
{
	seq_printf(m, "%-15s %8lu kB\n", key, pages * VZ_KB_PER_PAGE);
}

/* Without making room for anything else: what nobody uses, and what can be had again. */
static unsigned long vz_available(const struct vz_meminfo *info)
{
	unsigned long pages = info->free + info->reclaimable;

	pages += info->lru[LRU_ACTIVE_FILE] + info->lru[LRU_INACTIVE_FILE];
	return min(info->total, pages);
}

/* The rows that tools read, in the host's order. */
static void vz_put_meminfo(struct seq_file *m, const struct vz_meminfo *info)
{
	const unsigned long *lru = info->lru;

	vz_put_kb(m, "MemTotal:", info->total);
	vz_put_kb(m, "MemFree:", info->free);
	vz_put_kb(m, "MemAvailable:", vz_available(info));
	vz_put_kb(m, "Buffers:", 0);
	vz_put_kb(m, "Cached:", info->file - min(info->file, info->swapcached));
	vz_put_kb(m, "SwapCached:", info->swapcached);
	vz_put_kb(m, "Active:", lru[LRU_ACTIVE_ANON] + lru[LRU_ACTIVE_FILE]);
	vz_put_kb(m, "Inactive:", lru[LRU_INACTIVE_ANON] + lru[LRU_INACTIVE_FILE]);
	vz_put_kb(m, "Active(anon):", lru[LRU_ACTIVE_ANON]);
	vz_put_kb(m, "Inactive(anon):", lru[LRU_INACTIVE_ANON]);
	vz_put_kb(m, "Active(file):", lru[LRU_ACTIVE_FILE]);
	vz_put_kb(m, "Inactive(file):", lru[LRU_INACTIVE_FILE]);
	vz_put_kb(m, "Unevictable:", lru[LRU_UNEVICTABLE]);
	vz_put_kb(m, "Mlocked:", lru[LRU_UNEVICTABLE]);
	vz_put_kb(m, "SwapTotal:", info->swap_total);
	vz_put_kb(m, "SwapFree:", info->swap_free);
	vz_put_kb(m, "Dirty:", info->dirty);
	vz_put_kb(m, "Writeback:", info->writeback);
	vz_put_kb(m, "AnonPages:", info->anon);
	vz_put_kb(m, "Mapped:", info->mapped);
	vz_put_kb(m, "Shmem:", info->shmem);
	vz_put_kb(m, "KReclaimable:", info->reclaimable);
	vz_put_kb(m, "Slab:", info->reclaimable + info->unreclaimable);
	vz_put_kb(m, "SReclaimable:", info->reclaimable);
	vz_put_kb(m, "SUnreclaim:", info->unreclaimable);
	vz_put_kb(m, "KernelStack:", info->stacks);
	vz_put_kb(m, "PageTables:", info->tables);
	vz_put_kb(m, "CommitLimit:", info->total + info->swap_total);
	vz_put_kb(m, "Percpu:", info->percpu);
}

/* Nothing for one that has no memory controller of its own. */
int vz_show_meminfo_of(struct seq_file *m, const struct vz_view *view)
{
	struct vz_meminfo info;
	int ret = vz_meminfo_of(view, &info);

	if (!ret)
		vz_put_meminfo(m, &info);
	return ret == -ENODATA ? 0 : ret;
}

int vz_show_meminfo(struct seq_file *m, void *unused)
{
	struct vz_meminfo info;
	struct vz_view view;
	int ret;

	if (!vz_view_get(&view))
		return vz_show_host(m, "meminfo");
	ret = vz_meminfo_of(&view, &info);
	vz_view_put(&view);
	if (ret == -ENODATA)
		return vz_show_host(m, "meminfo");
	if (!ret)
		vz_put_meminfo(m, &info);
	return ret;
}

static u64 vz_ticks(u64 ns)
{
	return div_u64(ns, NSEC_PER_SEC / USER_HZ);
}

static void vz_put_cpu(struct seq_file *m, const struct vz_cpu_time *time, u64 idle_ns,
		       unsigned int share)
{
	seq_printf(m, " %llu %llu %llu %llu 0 0 0 0 0 0\n",
		   vz_ticks(div_u64(time->user_ns, share)),
		   vz_ticks(div_u64(time->nice_ns, share)),
		   vz_ticks(div_u64(time->system_ns, share)),
		   vz_ticks(div_u64(idle_ns, share)));
}

static time64_t vz_boot_second(const struct vz_view *view)
{
	struct timespec64 boot;

	getboottime64(&boot);
	return boot.tv_sec + div_u64(view->info.boot_ns, NSEC_PER_SEC);
}

/* The newest pid of the reader's pid namespace: as good as the number of forks until it wraps. */
static unsigned int vz_last_pid(void)
{
	return idr_get_cursor(&task_active_pid_ns(current)->idr) - 1;
}

/* A container has virtual CPUs: each did an equal share. */
static void vz_put_stat(struct seq_file *m, const struct vz_view *view)
{
	unsigned int cpu, cpus = vz_cpus(view);
	struct vz_cpu_time time;
	u64 idle_ns;

	vz_cpu_time_of(view, &time);
	idle_ns = vz_idle_ns(view, &time);
	seq_puts(m, "cpu ");
	vz_put_cpu(m, &time, idle_ns, 1);
	for (cpu = 0; cpu < cpus; cpu++) {
		seq_printf(m, "cpu%u", cpu);
		vz_put_cpu(m, &time, idle_ns, cpus);
	}
	seq_printf(m, "intr 0\nctxt 0\nbtime %lld\nprocesses %u\nprocs_running %u\nprocs_blocked %u\n",
		   vz_boot_second(view), vz_last_pid(), max(view->load.running, 1U),
		   view->load.blocked);
	seq_puts(m, "softirq 0 0 0 0 0 0 0 0 0 0 0\n");
}

int vz_show_stat(struct seq_file *m, void *unused)
{
	struct vz_view view;

	if (!vz_view_get(&view))
		return vz_show_host(m, "stat");
	vz_put_stat(m, &view);
	vz_view_put(&view);
	return 0;
}

static void vz_put_seconds(struct seq_file *m, u64 ns)
{
	u64 hundredths = div_u64(ns, NSEC_PER_SEC / 100);
	u32 rest;
	u64 seconds = div_u64_rem(hundredths, 100, &rest);

	seq_printf(m, "%llu.%02u", seconds, rest);
}

int vz_show_uptime(struct seq_file *m, void *unused)
{
	struct vz_cpu_time time;
	struct vz_view view;

	if (!vz_view_get(&view))
		return vz_show_host(m, "uptime");
	vz_cpu_time_of(&view, &time);
	vz_put_seconds(m, vz_uptime_ns(&view));
	seq_putc(m, ' ');
	vz_put_seconds(m, vz_idle_ns(&view, &time));
	seq_putc(m, '\n');
	vz_view_put(&view);
	return 0;
}

int vz_show_loadavg(struct seq_file *m, void *unused)
{
	struct vz_view view;
	unsigned int i;

	if (!vz_view_get(&view))
		return vz_show_host(m, "loadavg");
	for (i = 0; i < ARRAY_SIZE(view.load.avg); i++) {
		unsigned long avg = view.load.avg[i] + FIXED_1 / 200;

		seq_printf(m, "%lu.%02lu ", LOAD_INT(avg), LOAD_FRAC(avg));
	}
	seq_printf(m, "%u/%u %u\n", max(view.load.running, 1U), max(view.load.threads, 1U),
		   vz_last_pid());
	vz_view_put(&view);
	return 0;
}

/* One CPU's text without its number, up to the empty line behind it. */
static const char *vz_put_cpuinfo(struct seq_file *m, const char *text, unsigned int number)
{
	const char *end = strstr(text, "\n\n");
	const char *rest = strchr(text, '\n');

	if (!end || !rest || strncmp(text, "processor\t:", 11))
		return NULL;
	end += 2;
	seq_printf(m, "processor\t: %u", number);
	seq_write(m, rest, end - rest);
	return end;
}

int vz_show_cpuinfo(struct seq_file *m, void *unused)
{
	unsigned int number, cpus;
	struct vz_view view;
	const char *next;
	char *text;

	if (!vz_view_get(&view))
		return vz_show_host(m, "cpuinfo");
	cpus = vz_cpus(&view);
	vz_view_put(&view);
	text = vz_host_text("cpuinfo");
	if (IS_ERR(text))
		return PTR_ERR(text);
	next = text;
	for (number = 0; number < cpus && next; number++)
		next = vz_put_cpuinfo(m, next, number);
	kvfree(text);
	return 0;
}

int vz_show_swaps(struct seq_file *m, void *unused)
{
	struct mem_cgroup *memcg;
	struct vz_meminfo info;
	struct vz_view view;

	if (!vz_view_get(&view))
		return vz_show_host(m, "swaps");
	memcg = vz_memcg_get(view.cgrp);
	vz_view_put(&view);
	if (!memcg)
		return vz_show_host(m, "swaps");
	vz_add_totals(memcg, &info);
	vz_memcg_put(memcg);
	seq_puts(m, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	if (info.swap_total)
		seq_printf(m, "%-39s partition\t%lu\t\t%lu\t\t-1\n", "virtual",
			   info.swap_total * VZ_KB_PER_PAGE,
			   (info.swap_total - info.swap_free) * VZ_KB_PER_PAGE);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Beancounters of a container: what BPF programs count, in maps that user
 * space hands over; what control groups count, read from these. The maps'
 * contents are numbers and nothing more: whatever they are, they are printed.
 */
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/memcontrol.h>
#include <linux/mutex.h>
#include <linux/page_counter.h>
#include <linux/rcupdate_trace.h>
#include <linux/refcount.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

/* As OpenVZ prints it. */
#define VZ_UB_UNLIMITED	((u64)S64_MAX)

/* A beancounter's page, whatever the kernel's is. */
#define VZ_UB_PAGE	SZ_4K

/* What the refreshing program may read of its context, which is all zeroes. */
#define VZ_UB_CONTEXT	64

struct vz_ub_maps {
	struct rcu_head rcu;
	refcount_t refs;
	struct bpf_map *ub;
	struct bpf_map *conf;
	struct bpf_prog *refresh;	/* or NULL */
	struct mutex lock;		/* one refresh at a time */
	u64 refreshed_ns;		/* when the latest began */
};

static struct vz_ub_maps __rcu *vz_ub_current;
static DEFINE_MUTEX(vz_ub_mutex);	/* replacing it */

struct vz_ub_maps *vz_ub_maps_get(void)
{
	struct vz_ub_maps *maps;

	rcu_read_lock();
	maps = rcu_dereference(vz_ub_current);
	if (maps && !refcount_inc_not_zero(&maps->refs))
		maps = NULL;
	rcu_read_unlock();
	return maps;
}

void vz_ub_maps_put(struct vz_ub_maps *maps)
{
	if (!refcount_dec_and_test(&maps->refs))
		return;
	bpf_map_put(maps->ub);
	bpf_map_put(maps->conf);
	if (maps->refresh)
		bpf_prog_put(maps->refresh);
	kfree_rcu(maps, rcu);
}

/* Values begin with arrays of one number for each row; what else they have is not for us. */
static bool vz_ub_is_map(const struct bpf_map *map, u32 arrays)
{
	return map->map_type == BPF_MAP_TYPE_HASH && map->ops->map_lookup_elem &&
	       map->key_size == sizeof(u64) &&
	       map->value_size >= arrays * VZ_UB_ROWS * sizeof(u64);
}

static void vz_ub_replace(struct vz_ub_maps *maps)
{
	mutex_lock(&vz_ub_mutex);
	maps = rcu_replace_pointer(vz_ub_current, maps, lockdep_is_held(&vz_ub_mutex));
	mutex_unlock(&vz_ub_mutex);
	if (maps)
		vz_ub_maps_put(maps);
}

/**
 * vz_ub_set_maps() - take counters from these maps from now on
 * @ub: held, maxheld and failcnt; NULL: from none
 * @conf: barriers and limits
 * @refresh: to be run before @ub is read, or NULL
 *
 * References are taken over if this succeeds.
 *
 * Return: 0, -EINVAL for maps or a program of another kind, -ENOMEM.
 */
int vz_ub_set_maps(struct bpf_map *ub, struct bpf_map *conf, struct bpf_prog *refresh)
{
	struct vz_ub_maps *maps;

	if (!ub) {
		vz_ub_replace(NULL);
		return 0;
	}
	if (!vz_ub_is_map(ub, 3) || !vz_ub_is_map(conf, 2))
		return -EINVAL;
	if (refresh && refresh->aux->max_ctx_offset > VZ_UB_CONTEXT)
		return -EINVAL;
	maps = kzalloc_obj(*maps, GFP_KERNEL);
	if (!maps)
		return -ENOMEM;
	refcount_set(&maps->refs, 1);
	mutex_init(&maps->lock);
	maps->ub = ub;
	maps->conf = conf;
	maps->refresh = refresh;
	vz_ub_replace(maps);
	return 0;
}

/* enum vz_ub_state */
u32 vz_ub_state(void)
{
	const struct vz_ub_maps *maps;
	u32 state = 0;

	rcu_read_lock();
	maps = rcu_dereference(vz_ub_current);
	if (maps)
		state = VZ_UB_HAS_MAPS | (maps->refresh ? VZ_UB_HAS_REFRESH : 0);
	rcu_read_unlock();
	return state;
}

static void vz_ub_run(struct bpf_prog *prog)
{
	u64 context[VZ_UB_CONTEXT / sizeof(u64)] = {};

	rcu_read_lock_trace();
	bpf_prog_run_pin_on_cpu(prog, context);
	rcu_read_unlock_trace();
}

/*
 * Brings rows up to date that take a walk. Who waited while somebody else began
 * one needs none of its own. -EINTR if killed.
 */
int vz_ub_refresh(struct vz_ub_maps *maps)
{
	u64 asked_ns = ktime_get_ns();

	if (!maps->refresh)
		return 0;
	if (mutex_lock_killable(&maps->lock))
		return -EINTR;
	if (maps->refreshed_ns <= asked_ns) {
		maps->refreshed_ns = ktime_get_ns();
		vz_ub_run(maps->refresh);
	}
	mutex_unlock(&maps->lock);
	return 0;
}

/*
 * An entry that is removed may become another's at once. Found again at the
 * same place after it was copied, it was this one's all the time.
 */
static bool vz_ub_lookup(struct bpf_map *map, u64 key, u64 *to, unsigned int count)
{
	const u64 *value, *again;
	unsigned int n;

	rcu_read_lock();
	again = map->ops->map_lookup_elem(map, &key);
	do {
		value = again;
		for (n = 0; value && n < count; n++)
			to[n] = READ_ONCE(value[n]);
		again = map->ops->map_lookup_elem(map, &key);
	} while (value != again);
	rcu_read_unlock();
	return value;
}

/* A counter that ran below zero for a moment is 0. So all are at most VZ_UB_UNLIMITED. */
static u64 vz_ub_sane(u64 value)
{
	return (s64)value < 0 ? 0 : value;
}

static void vz_ub_clear(struct vz_ub_set *set)
{
	unsigned int n;

	memset(set, 0, sizeof(*set));
	for (n = 0; n < VZ_UB_ROWS; n++) {
		set->row[n].barrier = VZ_UB_UNLIMITED;
		set->row[n].limit = VZ_UB_UNLIMITED;
	}
}

static void vz_ub_add_counts(struct vz_ub_maps *maps, u64 cgroup_id, struct vz_ub_set *set)
{
	u64 value[3 * VZ_UB_ROWS];
	unsigned int n;

	if (!vz_ub_lookup(maps->ub, cgroup_id, value, ARRAY_SIZE(value)))
		return;
	for (n = 0; n < VZ_UB_ROWS; n++) {
		set->row[n].held = vz_ub_sane(value[n]);
		set->row[n].maxheld = vz_ub_sane(value[VZ_UB_ROWS + n]);
		set->row[n].failcnt = vz_ub_sane(value[2 * VZ_UB_ROWS + n]);
	}
}

static bool vz_ub_add_limits(struct vz_ub_maps *maps, u64 cgroup_id, struct vz_ub_set *set)
{
	u64 value[2 * VZ_UB_ROWS];
	unsigned int n;

	if (!vz_ub_lookup(maps->conf, cgroup_id, value, ARRAY_SIZE(value)))
		return false;
	for (n = 0; n < VZ_UB_ROWS; n++) {
		set->row[n].barrier = min(value[n], VZ_UB_UNLIMITED);
		set->row[n].limit = min(value[VZ_UB_ROWS + n], VZ_UB_UNLIMITED);
	}
	return true;
}

/* What a control group counts; a program that counts the same row has said more. */
static void vz_ub_hold(struct vz_ub_row *row, u64 held, u64 peak)
{
	row->held = max(row->held, held);
	row->maxheld = max3(row->maxheld, row->held, peak);
}

static u64 vz_ub_pages(unsigned long pages)
{
	return (u64)pages * (PAGE_SIZE / VZ_UB_PAGE);
}

static void vz_ub_add_memory(struct mem_cgroup *memcg, struct vz_ub_set *set)
{
	struct vz_ub_row *ram = &set->row[VZ_UB_PHYSPAGES];
	struct vz_ub_row *swap = &set->row[VZ_UB_SWAPPAGES];
	struct vz_ub_row *oom = &set->row[VZ_UB_OOMGUARPAGES];

	vz_ub_hold(ram, vz_ub_pages(page_counter_read(&memcg->memory)),
		   vz_ub_pages(READ_ONCE(memcg->memory.watermark)));
	vz_ub_hold(swap, vz_ub_pages(page_counter_read(&memcg->swap)),
		   vz_ub_pages(READ_ONCE(memcg->swap.watermark)));
	vz_ub_hold(oom, min(ram->held + swap->held, VZ_UB_UNLIMITED), 0);
	/* not of limits that the container set for groups inside */
	ram->failcnt += atomic_long_read(&memcg->memory_events_local[MEMCG_MAX]);
	swap->failcnt += atomic_long_read(&memcg->memory_events[MEMCG_SWAP_MAX]);
	oom->failcnt += atomic_long_read(&memcg->memory_events[MEMCG_OOM_KILL]);
}

static void vz_ub_add_memory_limits(struct mem_cgroup *memcg, struct vz_ub_set *set)
{
	struct vz_memory memory;

	vz_memory_of(memcg, &memory);
	if (memory.ram_limit != VZ_NO_LIMIT) {
		set->row[VZ_UB_PHYSPAGES].barrier = 0;
		set->row[VZ_UB_PHYSPAGES].limit = vz_ub_pages(memory.ram_limit);
	}
	if (memory.swap_limit != VZ_NO_LIMIT) {
		set->row[VZ_UB_SWAPPAGES].barrier = 0;
		set->row[VZ_UB_SWAPPAGES].limit = vz_ub_pages(memory.swap_limit);
	}
}

static void vz_ub_add_memory_stat(const char *text, struct vz_ub_set *set)
{
	struct vz_ub_row *row = set->row;

	vz_ub_hold(&row[VZ_UB_KMEMSIZE], vz_host_value(text, "kernel "), 0);
	vz_ub_hold(&row[VZ_UB_LOCKEDPAGES], vz_host_value(text, "unevictable ") / VZ_UB_PAGE, 0);
	/* A program counts those, too: in swap as well, and for who made them. */
	if (!row[VZ_UB_SHMPAGES].maxheld)
		vz_ub_hold(&row[VZ_UB_SHMPAGES], vz_host_value(text, "shmem ") / VZ_UB_PAGE, 0);
	vz_ub_hold(&row[VZ_UB_DCACHESIZE], vz_host_value(text, "slab_reclaimable "), 0);
}

#ifdef CONFIG_CGROUP_PIDS
static void vz_ub_add_pids(struct cgroup *cgrp, struct vz_cgfile *file, bool limits,
			   struct vz_ub_row *row)
{
	u64 held = 0, peak = 0, limit;
	const char *text;

	vz_cgfile_number(cgrp, pids_cgrp_id, "current", &held);
	vz_cgfile_number(cgrp, pids_cgrp_id, "peak", &peak);
	vz_ub_hold(row, held, peak);
	text = vz_cgfile_text(file, cgrp, pids_cgrp_id, "events");
	row->failcnt += vz_host_value(text, "max ");
	text = limits ? vz_cgfile_text(file, cgrp, pids_cgrp_id, "max") : NULL;
	if (text && !kstrtou64(text, 10, &limit)) {
		row->barrier = min(limit, VZ_UB_UNLIMITED);
		row->limit = row->barrier;
	}
}
#else
static void vz_ub_add_pids(struct cgroup *cgrp, struct vz_cgfile *file, bool limits,
			   struct vz_ub_row *row)
{
}
#endif

/* Rows whose highest value nobody keeps: the highest that was read. */
static void vz_ub_remember(u64 cgroup_id, struct vz_ub_set *set)
{
	struct vz_ct *ct;
	unsigned int n;

	rcu_read_lock();
	ct = vz_ct_lookup(cgroup_id);
	if (ct) {
		spin_lock(&ct->lock);
		for (n = 0; n < VZ_UB_ROWS; n++) {
			ct->ub_maxheld[n] = max(ct->ub_maxheld[n], set->row[n].held);
			set->row[n].maxheld = max(ct->ub_maxheld[n], set->row[n].maxheld);
		}
		spin_unlock(&ct->lock);
	}
	rcu_read_unlock();
}

/**
 * vz_ub_of() - the beancounters of a container
 * @view: the container
 * @maps: from vz_ub_maps_get(); NULL: only what control groups count is known
 * @file: to read these
 * @set: filled in
 */
void vz_ub_of(const struct vz_view *view, struct vz_ub_maps *maps, struct vz_cgfile *file,
	      struct vz_ub_set *set)
{
	struct mem_cgroup *memcg = vz_memcg_get_own(view->cgrp);
	bool limits = true;

	vz_ub_clear(set);
	if (maps) {
		vz_ub_add_counts(maps, view->info.cgroup_id, set);
		limits = !vz_ub_add_limits(maps, view->info.cgroup_id, set);
	}
	if (memcg) {
		vz_ub_add_memory(memcg, set);
		if (limits)
			vz_ub_add_memory_limits(memcg, set);
		vz_memcg_put(memcg);
	}
	vz_ub_add_memory_stat(vz_cgfile_text(file, view->cgrp, memory_cgrp_id, "stat"), set);
	vz_ub_add_pids(view->cgrp, file, limits, &set->row[VZ_UB_NUMPROC]);
	vz_ub_remember(view->info.cgroup_id, set);
}

static u64 vz_ub_rest(u64 all, u64 containers)
{
	return all - min(all, containers);
}

/* Threads of the host and of all containers. */
u64 vz_all_threads(void)
{
	char *text = vz_host_text("loadavg");
	unsigned long threads;

	if (IS_ERR(text))
		return 0;
	threads = vz_host_value(strchr(text, '/'), "/");
	kvfree(text);
	return threads;
}

static void vz_ub_add_host_memory(const char *text, struct vz_ub_set *set)
{
	u64 kernel = vz_host_value(text, "Slab:") + vz_host_value(text, "KernelStack:") +
		     vz_host_value(text, "PageTables:") + vz_host_value(text, "SecPageTables:") +
		     vz_host_value(text, "Percpu:");

	set->row[VZ_UB_KMEMSIZE].held = kernel * SZ_1K;
	set->row[VZ_UB_DCACHESIZE].held = (u64)vz_host_value(text, "SReclaimable:") * SZ_1K;
	set->row[VZ_UB_LOCKEDPAGES].held = vz_host_value(text, "Unevictable:") / 4;
	set->row[VZ_UB_SHMPAGES].held = vz_host_value(text, "Shmem:") / 4;
	set->row[VZ_UB_PHYSPAGES].held = vz_ub_rest(vz_host_value(text, "MemTotal:"),
						    vz_host_value(text, "MemFree:")) / 4;
	set->row[VZ_UB_SWAPPAGES].held = vz_ub_rest(vz_host_value(text, "SwapTotal:"),
						    vz_host_value(text, "SwapFree:")) / 4;
}

/**
 * vz_ub_of_host() - what is left for the host itself
 * @set: filled in; a row that nobody counts for the host stays 0
 * @containers: the sum over all containers that are in no other
 */
void vz_ub_of_host(struct vz_ub_set *set, const struct vz_ub_set *containers)
{
	static u64 maxheld[VZ_UB_ROWS];
	char *text = vz_host_text("meminfo");
	unsigned int n;

	vz_ub_clear(set);
	if (!IS_ERR(text)) {
		vz_ub_add_host_memory(text, set);
		kvfree(text);
	}
	set->row[VZ_UB_NUMPROC].held = vz_all_threads();
	for (n = 0; n < VZ_UB_ROWS; n++)
		set->row[n].held = vz_ub_rest(set->row[n].held, containers->row[n].held);
	set->row[VZ_UB_OOMGUARPAGES].held = set->row[VZ_UB_PHYSPAGES].held +
					    set->row[VZ_UB_SWAPPAGES].held;
	mutex_lock(&vz_ub_mutex);
	for (n = 0; n < VZ_UB_ROWS; n++) {
		maxheld[n] = max(maxheld[n], set->row[n].held);
		set->row[n].maxheld = maxheld[n];
	}
	mutex_unlock(&vz_ub_mutex);
}

int vz_ub_init(void)
{
	return 0;
}

void vz_ub_exit(void)
{
	vz_ub_replace(NULL);
}

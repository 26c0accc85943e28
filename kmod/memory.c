// SPDX-License-Identifier: GPL-2.0-only
/* What a container's memory cgroup counts, read from the counters themselves. */
#include <linux/cgroup.h>
#include <linux/memcontrol.h>
#include <linux/nodemask.h>
#include <linux/page_counter.h>

#include "internal.h"

/* The lowest limit from here to the root, which has none. */
static unsigned long vz_lowest_limit(struct page_counter *counter)
{
	unsigned long limit = VZ_NO_LIMIT;

	for (; counter && counter->parent; counter = counter->parent) {
		unsigned long max = READ_ONCE(counter->max);

		if (max < PAGE_COUNTER_MAX)
			limit = min(limit, max);
	}
	return limit;
}

/* Usage and limits; any context, the caller holds the memcg or RCU. */
void vz_memory_of(struct mem_cgroup *memcg, struct vz_memory *memory)
{
	memory->ram_usage = page_counter_read(&memcg->memory);
	memory->ram_limit = vz_lowest_limit(&memcg->memory);
	memory->swap_usage = page_counter_read(&memcg->swap);
	memory->swap_limit = vz_lowest_limit(&memcg->swap);
}

/* The memcg that accounts a cgroup, held; NULL where that is the host's. */
struct mem_cgroup *vz_memcg_get(struct cgroup *cgrp)
{
	struct cgroup_subsys_state *css = cgroup_get_e_css(cgrp, &memory_cgrp_subsys);

	if (css->parent)
		return mem_cgroup_from_css(css);
	css_put(css);
	return NULL;
}

/* The same, but NULL also where it is that of a group above. */
struct mem_cgroup *vz_memcg_get_own(struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = vz_memcg_get(cgrp);

	if (!memcg || memcg->css.cgroup == cgrp)
		return memcg;
	vz_memcg_put(memcg);
	return NULL;
}

void vz_memcg_put(struct mem_cgroup *memcg)
{
	css_put(&memcg->css);
}

/* How often the limits of a cgroup, or of one below it, left nothing to reclaim. */
unsigned long vz_memcg_ooms(struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = vz_memcg_get(cgrp);
	unsigned long ooms;

	if (!memcg)
		return 0;
	ooms = atomic_long_read(&memcg->memory_events[MEMCG_OOM]);
	vz_memcg_put(memcg);
	return ooms;
}

/* The two lists per kind that are kept where the multi-gen LRU is off; always the unevictable. */
static void vz_add_lists(struct mem_cgroup_per_node *node, unsigned long lru[NR_LRU_LISTS])
{
	enum lru_list list;
	int zone;

	for (zone = 0; zone < MAX_NR_ZONES; zone++) {
		for_each_lru(list)
			lru[list] += READ_ONCE(node->lru_zone_size[zone][list]);
	}
}

#ifdef CONFIG_LRU_GEN
/* Its two youngest generations are what the host's meminfo calls active. */
static void vz_add_generation(struct lru_gen_folio *lrugen, unsigned long seq, bool active,
			      unsigned long lru[NR_LRU_LISTS])
{
	int gen = seq % MAX_NR_GENS;
	int type, zone;

	for (type = 0; type < ANON_AND_FILE; type++) {
		long pages = 0;

		for (zone = 0; zone < MAX_NR_ZONES; zone++)
			pages += READ_ONCE(lrugen->nr_pages[gen][type][zone]);
		/* eventually consistent, so a moment's sum may be negative */
		lru[type * LRU_FILE + active] += max(pages, 0L);
	}
}

static void vz_add_generations(struct mem_cgroup_per_node *node, unsigned long lru[NR_LRU_LISTS])
{
	struct lru_gen_folio *lrugen = &node->lruvec.lrugen;
	unsigned long youngest = READ_ONCE(lrugen->max_seq);
	unsigned int age;

	for (age = 0; age < MAX_NR_GENS; age++)
		vz_add_generation(lrugen, youngest - age, age < 2, lru);
}
#else
static void vz_add_generations(struct mem_cgroup_per_node *node, unsigned long lru[NR_LRU_LISTS])
{
}
#endif

static void vz_memcg_add_lru(struct mem_cgroup *memcg, unsigned long lru[NR_LRU_LISTS])
{
	int node;

	for_each_node_state(node, N_MEMORY) {
		vz_add_lists(memcg->nodeinfo[node], lru);
		vz_add_generations(memcg->nodeinfo[node], lru);
	}
}

/* Pages on the LRU lists of a memcg and of all below it. */
void vz_memcg_lru(struct mem_cgroup *memcg, unsigned long lru[NR_LRU_LISTS])
{
	struct cgroup_subsys_state *css;

	memset(lru, 0, sizeof(*lru) * NR_LRU_LISTS);
	rcu_read_lock();
	css_for_each_descendant_pre(css, &memcg->css)
		vz_memcg_add_lru(mem_cgroup_from_css(css), lru);
	rcu_read_unlock();
}

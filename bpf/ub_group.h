/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What control groups count themselves, for all containers in one run: to open and read the files of each takes a
 * hundred times as long. The numbers of memory.stat are as of its last flush, as they are in the file; whoever wants
 * them fresh reads the file of a group above all containers first, which flushes them all.
 */
#ifndef UB_GROUP_H
#define UB_GROUP_H

#include "ub_rules.h"
#include "vz_common.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VZ_BPF_MAX_CTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct vz_ub_group);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_group SEC(".maps");

/* mm/memcontrol.c, one byte per kind of page: where in memcg_vmstats it is counted */
extern const void mem_cgroup_stats_index __ksym __weak;

struct cgroup* bpf_cgroup_from_id(u64 id) __ksym __weak;
void bpf_cgroup_release(struct cgroup* cgroup) __ksym __weak;

static __always_inline __u64 number_at(__u64 address) {
  __s64 number = 0;

  bpf_probe_read_kernel(&number, sizeof(number), (void*)address);
  return number > 0 ? number : 0;
}

static __always_inline __u64 stat_of(__u64 stats, __u32 kind) {
  __u8 index = 0xff;

  bpf_probe_read_kernel(&index, sizeof(index), &mem_cgroup_stats_index + kind);
  if (!stats || index == 0xff) return 0;
  return number_at(stats + bpf_core_field_offset(struct memcg_vmstats, state) + 8 * index);
}

#define STAT(kind, name) stat_of(stats, bpf_core_enum_value(enum kind, name))
#define EVENT(where, name)                                            \
  number_at(memcg + bpf_core_field_offset(struct mem_cgroup, where) + \
            8 * bpf_core_enum_value(enum memcg_memory_event, name))
#define COUNTER(counter, field) \
  (number_at(memcg + bpf_core_field_offset(struct mem_cgroup, counter.field)) << PAGE_SHIFT)

/* One that the group has itself: without its controller it has that of a group above. */
static __always_inline __u64 own_state(struct cgroup* cgroup, int subsystem) {
  struct cgroup_subsys_state* css = css_of(cgroup, subsystem);

  return css && BPF_CORE_READ(css, cgroup) == cgroup ? (__u64)css : 0;
}

static __always_inline void add_memory(struct cgroup* cgroup, struct vz_ub_group* out) {
  __u64 css = own_state(cgroup, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)), memcg, stats;

  if (!css || !&mem_cgroup_stats_index) return;
  memcg = css - bpf_core_field_offset(struct mem_cgroup, css);
  stats = (__u64)BPF_CORE_READ((struct mem_cgroup*)memcg, vmstats);
  out->ram = COUNTER(memory, usage);
  out->ram_peak = COUNTER(memory, watermark);
  out->ram_hits = EVENT(memory_events_local, MEMCG_MAX);
  out->swap = COUNTER(swap, usage);
  out->swap_peak = COUNTER(swap, watermark);
  out->swap_hits = EVENT(memory_events, MEMCG_SWAP_MAX);
  out->oom_kills = EVENT(memory_events, MEMCG_OOM_KILL);
  out->kernel = STAT(memcg_stat_item, MEMCG_KMEM) << PAGE_SHIFT;
  out->unevictable = STAT(node_stat_item, NR_UNEVICTABLE) << PAGE_SHIFT;
  out->shmem = STAT(node_stat_item, NR_SHMEM) << PAGE_SHIFT;
  out->slab_reclaimable = STAT(node_stat_item, NR_SLAB_RECLAIMABLE_B);
  out->has |= VZ_UB_HAS_MEMORY;
}

static __always_inline void add_processes(struct cgroup* cgroup, struct vz_ub_group* out) {
  __u64 css = own_state(cgroup, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)), pids;

  if (!css) return;
  pids = css - bpf_core_field_offset(struct pids_cgroup, css);
  out->processes = number_at(pids + bpf_core_field_offset(struct pids_cgroup, counter));
  out->processes_peak = number_at(pids + bpf_core_field_offset(struct pids_cgroup, watermark));
  out->processes_hits = number_at(pids + bpf_core_field_offset(struct pids_cgroup, events));
  out->has |= VZ_UB_HAS_PIDS;
}

static __always_inline __u64 known_filters(void) {
  return (knows_nft() ? VZ_UB_KNOWS_NFT : 0) | (knows_xt() ? VZ_UB_KNOWS_XT : 0);
}

static long read_group(void* map, __u64* container, struct vz_ub* ub, void* ctx) {
  struct vz_ub_group found = {.has = known_filters()};
  __u64 id = *container;
  struct cgroup* cgroup = bpf_cgroup_from_id(id);

  if (!cgroup) {
    bpf_map_delete_elem(&vz_ub_group, &id);
    return 0;
  }
  add_memory(cgroup, &found);
  add_processes(cgroup, &found);
  bpf_cgroup_release(cgroup);
  bpf_map_update_elem(&vz_ub_group, &id, &found, BPF_ANY);
  return 0;
}

#endif /* UB_GROUP_H */

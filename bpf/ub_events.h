/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Refusals and kills, told to those who subscribed: each has a ring buffer of its own in a slot, as a ring buffer has
 * only one reader. What is told is that something happened: how often is in the counters. So a full buffer loses
 * nothing, and who is refused all the time is told of ten times a second.
 */
#ifndef UB_EVENTS_H
#define UB_EVENTS_H

#include "vz_common.h"

#define QUIET_NS 100000000ULL

struct vz_ub_ring {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, VZ_UB_RING_SIZE);
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, VZ_UB_SUBSCRIBERS);
  __type(key, __u32);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __array(values, struct vz_ub_ring);
} vz_ub_rings SEC(".maps");

struct told {
  __u64 container;
  __u32 row, pad;
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct told);
  __type(value, __u64);
} vz_ub_told SEC(".maps");

static __noinline int tell(__u64 container, __u32 row) {
  struct vz_ub_event event = {container, row, 0};
  struct told key = {container, row, 0};
  __u64 now = bpf_ktime_get_ns(), *last = bpf_map_lookup_elem(&vz_ub_told, &key);

  if (last && now - *last < QUIET_NS) return 0;
  bpf_map_update_elem(&vz_ub_told, &key, &now, BPF_ANY);
  for (__u32 slot = 0; slot < VZ_UB_SUBSCRIBERS; slot++) {
    __u32 index = slot;
    void* ring = bpf_map_lookup_elem(&vz_ub_rings, &index);

    if (ring) bpf_ringbuf_output(ring, &event, sizeof(event), 0);
  }
  return 0;
}

#endif /* UB_EVENTS_H */

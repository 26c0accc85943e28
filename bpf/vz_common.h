/* SPDX-License-Identifier: GPL-2.0-only */
/* What every program here begins with: is it switched on, and whose task is this? */
#ifndef VZ_COMMON_H
#define VZ_COMMON_H

/* vmlinux.h comes before everything: the others use its types. */
/* clang-format off */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
/* clang-format on */

#include "vz_maps.h"
#include "vz_objects.h"

/* Deeper groups than this are not looked at; P/ct is at level 3, a container's own services are at 6 or 7. */
#define VZ_MAX_LEVEL 16

/* include/linux/sched.h; macros, so that type information does not have them. The same in 6.12 and 7.2. */
#define PF_USER_WORKER 0x00004000
#define PF_KTHREAD 0x00200000

#define PAGE_SHIFT 12

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VZ_BPF_MAX_CTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct vz_conf);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_conf SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VZ_BPF_MAX_CTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct vz_state);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_state SEC(".maps");

/*
 * Upgrades without a gap: the kernel cannot exchange the program of a tracing link, so the new programs are attached
 * beside the old ones, asleep, until one write here makes them the ones that act.
 */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, VZ_OBJECTS);
  __type(key, __u32);
  __type(value, struct vz_generation);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_active SEC(".maps");

/* Set by vz-bpf before the program is loaded. */
const volatile __u32 vz_generation SEC(".rodata.generation") = 0;

static __always_inline bool active(__u32 object) {
  struct vz_generation* g = bpf_map_lookup_elem(&vz_active, &object);

  return g && g->active == vz_generation;
}

/* The innermost container of the current task: its cgroup id, or 0. */
static __always_inline __u64 current_container(struct vz_conf** conf) {
  __u64 found = 0;

  for (int level = 1; level <= VZ_MAX_LEVEL; level++) {
    __u64 id = bpf_get_current_ancestor_cgroup_id(level);
    struct vz_conf* here;

    if (!id) break;
    here = bpf_map_lookup_elem(&vz_conf, &id);
    if (here) {
      found = id;
      *conf = here;
    }
  }
  return found;
}

/* The group at `level` that holds `cgroup`; NULL when it is not that deep. */
static __always_inline struct cgroup* ancestor_at(struct cgroup* cgroup, int level) {
  struct cgroup* ancestor = NULL;

  if (!cgroup || BPF_CORE_READ(cgroup, level) < level) return NULL;
  bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
                        (void*)cgroup + bpf_core_field_offset(struct cgroup, ancestors) + level * sizeof(ancestor));
  return ancestor;
}

static __always_inline __u64 cgroup_id_of(struct cgroup* cgroup) { return cgroup ? BPF_CORE_READ(cgroup, kn, id) : 0; }

static __always_inline struct cgroup_subsys_state* css_of(struct cgroup* cgroup, int subsystem) {
  struct cgroup_subsys_state* css = NULL;

  bpf_probe_read_kernel(&css, sizeof(css),
                        (void*)cgroup + bpf_core_field_offset(struct cgroup, subsys) + subsystem * sizeof(css));
  return css;
}

static __always_inline struct mem_cgroup* memcg_of(struct cgroup* cgroup) {
  struct cgroup_subsys_state* css = css_of(cgroup, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));

  return css ? (void*)css - bpf_core_field_offset(struct mem_cgroup, css) : NULL;
}

#endif /* VZ_COMMON_H */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who pays for what, and up to how much: containers found by group, counters with their bounds, and the maps that know
 * objects by their address.
 */
#ifndef UB_CHARGE_H
#define UB_CHARGE_H

#include "ub_events.h"
#include "vz_common.h"

#define ENOENT 2
#define E2BIG 7
#define EAGAIN 11
#define ENOMEM 12
#define EBUSY 16
#define EEXIST 17
#define ENFILE 23
#define ENOSPC 28
#define ENOLCK 37
#define ENOBUFS 105

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VZ_BPF_MAX_CTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct vz_ub_conf);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_conf SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VZ_BPF_MAX_CTS);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct vz_ub);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_stamp SEC(".maps");

/* Who pays for an object, in which rows. */
struct owner {
  __u64 container;
  __u32 row;
  __u32 pad;
};

/* vz-bpf gives each as many entries as suit the machine's memory. */
#define OWNER_MAP(name)                   \
  struct {                                \
    __uint(type, BPF_MAP_TYPE_HASH);      \
    __uint(max_entries, 65536);           \
    __uint(map_flags, BPF_F_NO_PREALLOC); \
    __type(key, __u64);                   \
    __type(value, struct owner);          \
    __uint(pinning, LIBBPF_PIN_BY_NAME);  \
  } name SEC(".maps")

OWNER_MAP(vz_ub_file);
OWNER_MAP(vz_ub_sock);
OWNER_MAP(vz_ub_flock);
OWNER_MAP(vz_ub_pty);

/* Which container a group belongs to, so that nobody has to look at all the groups around it each time. */
struct home {
  __u64 container; /* 0: none */
  __u64 check;     /* of container and vz_ub_stamp: written at the same time by two CPUs, they may not fit */
};

struct {
  __uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct home);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_home SEC(".maps");

static __always_inline __u64 check_of(__u64 container, __u64 stamp) {
  return container + (stamp + 1) * 0x9e3779b97f4a7c15ULL;
}

/* The innermost container around a group, the slow way; remembered with the group. */
static __noinline __u64 find_home(struct cgroup* group, __u64 stamp) {
  struct home* home;
  __u64 found = 0;

  if (!group) return 0;
  for (int level = 1; level <= VZ_MAX_LEVEL; level++) {
    __u64 id = cgroup_id_of(ancestor_at(group, level));

    if (!id) break;
    if (bpf_map_lookup_elem(&vz_ub, &id)) found = id;
  }
  home = bpf_cgrp_storage_get(&vz_ub_home, group, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (home) {
    home->container = found;
    home->check = check_of(found, stamp);
  }
  return found;
}

/* The container of a task: its cgroup id, or 0. */
static __always_inline __u64 home_of(struct task_struct* task) {
  __u32 index = 0;
  __u64* stamp = bpf_map_lookup_elem(&vz_ub_stamp, &index);
  struct home* home;
  __u64 container, now;

  if (!stamp) return 0;
  now = *stamp;
  home = bpf_cgrp_storage_get(&vz_ub_home, task->cgroups->dfl_cgrp, 0, 0);
  if (home) {
    container = home->container;
    if (home->check == check_of(container, now)) return container;
  }
  return find_home(task->cgroups->dfl_cgrp, now);
}

static __always_inline __u64 current_home(void) { return home_of(bpf_get_current_task_btf()); }

static __always_inline void note_maximum(__u64* maxheld, __u64 held) {
  __u64 most = *maxheld;

  for (int i = 0; i < 8 && held > most; i++) {
    __u64 seen = __sync_val_compare_and_swap(maxheld, most, held);

    if (seen == most) break;
    most = seen;
  }
}

enum severity { HARD, SOFT, FORCE };

/* The smaller one, if somebody has set a barrier above the limit. */
static __always_inline __u64 bound_of(__u64 container, __u32 row, enum severity severity) {
  struct vz_ub_conf* conf;

  if (severity == FORCE) return VZ_UB_UNLIMITED;
  conf = bpf_map_lookup_elem(&vz_ub_conf, &container);
  if (!conf) return VZ_UB_UNLIMITED;
  return severity == HARD && conf->barrier[row] < conf->limit[row] ? conf->barrier[row] : conf->limit[row];
}

/* `amount` more, and no more than `bound`, not even for a moment: others would be refused then without need. */
static __always_inline bool add_below(__u64* held, __u64 bound, __u64 amount, __u64* now) {
  __u64 before = *held;

  for (int i = 0; i < 16 && before + amount <= bound; i++) {
    __u64 seen = __sync_val_compare_and_swap(held, before, before + amount);

    *now = before + amount;
    if (seen == before) return true;
    before = seen;
  }
  if (before + amount > bound) return false;
  *now = __sync_fetch_and_add(held, amount) + amount; /* sixteen others were faster */
  if (*now <= bound) return true;
  __sync_fetch_and_add(held, -amount);
  return false;
}

static __always_inline void refuse(struct vz_ub* ub, __u64 container, __u32 row) {
  __sync_fetch_and_add(&ub->failcnt[row], 1);
  tell(container, row);
}

/* `amount` more; false: that would be more than it may have. Nothing is refused yet, nor noted as the most. */
static __always_inline bool reserve(struct vz_ub* ub, __u32 row, __u64 bound, __u64 amount) {
  __u64 now;

  if (bound < VZ_UB_UNLIMITED) return add_below(&ub->held[row], bound, amount, &now);
  __sync_fetch_and_add(&ub->held[row], amount);
  return true;
}

static __always_inline void note_held(struct vz_ub* ub, __u32 row) { note_maximum(&ub->maxheld[row], ub->held[row]); }

static __always_inline bool add(struct vz_ub* ub, __u32 row, __u64 bound, __u64 amount) {
  __u64 now;

  if (bound >= VZ_UB_UNLIMITED) {
    now = __sync_fetch_and_add(&ub->held[row], amount) + amount;
  } else if (!add_below(&ub->held[row], bound, amount, &now)) {
    return false;
  }
  note_maximum(&ub->maxheld[row], now);
  return true;
}

/* One more; false: that would be more than it may have. */
static __always_inline bool charge(struct vz_ub* ub, __u64 container, __u32 row, __u64 bound) {
  if (add(ub, row, bound, 1)) return true;
  refuse(ub, container, row);
  return false;
}

static __always_inline void give_back(__u64 container, __u32 row, __u64 amount) {
  struct vz_ub* ub = bpf_map_lookup_elem(&vz_ub, &container);

  if (ub) __sync_fetch_and_add(&ub->held[row], -amount);
}

static __always_inline void uncharge(__u64 container, __u32 row) { give_back(container, row, 1); }

/*
 * A map may be busy: since 6.15 its locks give up when they are waited for too long, as where the CPU of who holds one
 * does not run for a while (virtual machines).
 */
#define TRIES 8

static __always_inline long remember(void* map, __u64* object, const void* owner) {
  long error = 0;

  for (int i = 0; i < TRIES; i++) {
    error = bpf_map_update_elem(map, object, owner, BPF_NOEXIST);
    if (!error || error == -EEXIST || error == -E2BIG) break;
  }
  return error;
}

static __always_inline bool forget(void* map, __u64* object) {
  for (int i = 0; i < TRIES; i++) {
    long error = bpf_map_delete_elem(map, object);

    if (!error) return true;
    if (error == -ENOENT) break;
  }
  return false;
}

/* The container pays for the object from now on. false: it may not have more. */
static __always_inline bool own(void* map, __u64 object, __u64 container, __u32 row, enum severity severity) {
  struct owner owner = {container, row, 0};
  struct vz_ub* ub = bpf_map_lookup_elem(&vz_ub, &container);
  __u64 bound = bound_of(container, row, severity);
  long error;

  if (!ub) return true;
  /* Who has no limit may not take the room of all others. */
  if (bound >= VZ_UB_UNLIMITED && ub->held[row] >= ((struct bpf_map*)map)->max_entries / 2) {
    __sync_fetch_and_add(&ub->uncounted, 1);
    return true;
  }
  if (!charge(ub, container, row, bound)) return false;
  error = remember(map, &object, &owner);
  if (!error) return true;
  __sync_fetch_and_add(&ub->held[row], -1);
  if (error != -EEXIST) __sync_fetch_and_add(&ub->uncounted, 1);
  return true;
}

static __always_inline void disown(void* map, __u64 object) {
  struct owner* owner = bpf_map_lookup_elem(map, &object);
  __u64 container;
  __u32 row;

  if (!owner) return;
  container = owner->container;
  row = owner->row;
  if (forget(map, &object) && row < VZ_UB_RESOURCES) uncharge(container, row);
}

#endif /* UB_CHARGE_H */

// SPDX-License-Identifier: GPL-2.0-only
/*
 * sysinfo(2) in a container: its RAM, swap, processes and uptime instead of the host's. In an object of its own,
 * because a locked-down kernel refuses programs that write to user memory.
 */
#include "vz_common.h"

char LICENSE[] SEC("license") = "GPL";

#define NSEC_PER_SEC 1000000000ULL

/* struct sysinfo of linux/sysinfo.h for both kinds of programs: that interface never changes. */
struct sysinfo64 {
  __s64 uptime;
  __u64 loads[3];
  __u64 totalram, freeram, sharedram, bufferram;
  __u64 totalswap, freeswap;
  __u16 procs, pad;
  __u64 totalhigh, freehigh;
  __u32 mem_unit;
};

struct sysinfo32 {
  __s32 uptime;
  __u32 loads[3];
  __u32 totalram, freeram, sharedram, bufferram;
  __u32 totalswap, freeswap;
  __u16 procs, pad;
  __u32 totalhigh, freehigh;
  __u32 mem_unit;
};

/* In bytes. */
struct amounts {
  __u64 ram, ram_used, swap, swap_used;
};

#define AT_MOST(value, most) ((value) < (most) ? (value) : (most))
#define LEFT(total, used) ((total) > (used) ? (total) - (used) : 0)

/* Limits are the smallest from the container upwards, which is what the kernel enforces; use is the container's own. */
static __always_inline void measure(struct cgroup* container, struct amounts* out) {
  struct mem_cgroup* memcg = memcg_of(container);
  struct page_counter *ram, *swap;
  __u64 max;

  if (!memcg) return;
  ram = (void*)memcg + bpf_core_field_offset(struct mem_cgroup, memory);
  swap = (void*)memcg + bpf_core_field_offset(struct mem_cgroup, swap);
  out->ram_used = BPF_CORE_READ(ram, usage.counter) << PAGE_SHIFT;
  out->swap_used = BPF_CORE_READ(swap, usage.counter) << PAGE_SHIFT;
  for (int i = 0; i < VZ_MAX_LEVEL && ram; i++) {
    max = BPF_CORE_READ(ram, max) << PAGE_SHIFT;
    out->ram = AT_MOST(max, out->ram);
    ram = BPF_CORE_READ(ram, parent);
  }
  for (int i = 0; i < VZ_MAX_LEVEL && swap; i++) {
    max = BPF_CORE_READ(swap, max) << PAGE_SHIFT;
    out->swap = AT_MOST(max, out->swap);
    swap = BPF_CORE_READ(swap, parent);
  }
}

static __always_inline __u16 processes(struct cgroup* container, __u16 otherwise) {
  struct cgroup_subsys_state* css = css_of(container, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id));
  __u64 count;

  if (!css) return otherwise;
  count = BPF_CORE_READ((struct pids_cgroup*)css, counter.counter);
  return AT_MOST(count, 0xffff);
}

/* The innermost container of the current task, as a group. */
static __always_inline struct cgroup* container_of_current(struct vz_conf** conf) {
  struct cgroup *leaf = bpf_get_current_task_btf()->cgroups->dfl_cgrp, *found = NULL;

  for (int level = 1; level <= VZ_MAX_LEVEL; level++) {
    struct cgroup* here = ancestor_at(leaf, level);
    __u64 id = cgroup_id_of(here);
    struct vz_conf* entry;

    if (!id) break;
    entry = bpf_map_lookup_elem(&vz_conf, &id);
    if (!entry) continue;
    found = here;
    *conf = entry;
  }
  return found;
}

/* The kernel has just written the host's numbers: they are the upper bound of ours, in its unit. */
#define REWRITE(info, container, conf)                                             \
  do {                                                                             \
    __u64 unit = (info).mem_unit ? (info).mem_unit : 1;                            \
    struct amounts have = {(info).totalram * unit, 0, (info).totalswap * unit, 0}; \
    __u64 ram_free, swap_free;                                                     \
                                                                                   \
    measure(container, &have);                                                     \
    ram_free = LEFT(have.ram, have.ram_used) / unit;                               \
    swap_free = LEFT(have.swap, have.swap_used) / unit;                            \
    (info).totalram = have.ram / unit;                                             \
    (info).freeram = AT_MOST(ram_free, (info).freeram);                            \
    (info).sharedram = AT_MOST((info).sharedram, have.ram_used / unit);            \
    (info).bufferram = 0;                                                          \
    (info).totalswap = have.swap / unit;                                           \
    (info).freeswap = AT_MOST(swap_free, (info).freeswap);                         \
    (info).totalhigh = (info).freehigh = 0;                                        \
    (info).procs = processes(container, (info).procs);                             \
    if ((conf)->boot_ns) (info).uptime = uptime_since((conf)->boot_ns);            \
  } while (0)

static __always_inline __u64 uptime_since(__u64 boot_ns) {
  return (LEFT(bpf_ktime_get_boot_ns(), boot_ns) + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
}

SEC("fexit/__x64_sys_sysinfo")
int BPF_PROG(sysinfo_native, struct pt_regs* regs, long ret) {
  struct cgroup* container;
  struct sysinfo64 info;
  struct vz_conf* conf;
  void* address;

  if (ret || !active(VZ_OBJECT_SYSINFO)) return 0;
  container = container_of_current(&conf);
  if (!container) return 0;
  address = (void*)regs->di;
  if (bpf_probe_read_user(&info, sizeof(info), address)) return 0;
  REWRITE(info, container, conf);
  bpf_probe_write_user(address, &info, sizeof(info));
  return 0;
}

SEC("?fexit/__ia32_compat_sys_sysinfo")
int BPF_PROG(sysinfo_ia32, struct pt_regs* regs, long ret) {
  struct cgroup* container;
  struct sysinfo32 info;
  struct vz_conf* conf;
  void* address;

  if (ret || !active(VZ_OBJECT_SYSINFO)) return 0;
  container = container_of_current(&conf);
  if (!container) return 0;
  address = (void*)(__u64)(__u32)regs->bx;
  if (bpf_probe_read_user(&info, sizeof(info), address)) return 0;
  REWRITE(info, container, conf);
  bpf_probe_write_user(address, &info, sizeof(info));
  return 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * --vm_overcommit: private memory that the processes of a container may come to use, in pages, as the beancounter
 * privvmpages was: known by address space, paid by the container that the process was in when it was first seen,
 * returned when the address space goes. Over the limit mmap(2) and its like fail with ENOMEM; page faults never do.
 *
 * What is counted is the kernel's own number, mm->data_vm, read again after every system call that may change it: it
 * is changed in many places, and a program that misses one must not be wrong for ever.
 */
#include "vz_common.h"

#include "ub_events.h"

char LICENSE[] SEC("license") = "GPL";

#define ENOMEM 12
#define MAX_ADDRESS_SPACES 131072
#define TS_COMPAT 2 /* arch/x86/include/asm/thread_info.h */
#define MAP_SHARED 1

/* Address space -> who pays how much. */
struct debt {
  __u64 container;
  __u64 pages;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, MAX_ADDRESS_SPACES);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct debt);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_mm SEC(".maps");

static __always_inline void note_maximum(struct vz_state* state, __u64 held) {
  __u64 most = state->privvm_maxheld;

  for (int i = 0; i < 8 && held > most; i++) {
    __u64 seen = __sync_val_compare_and_swap(&state->privvm_maxheld, most, held);

    if (seen == most) break;
    most = seen;
  }
}

static __always_inline void hold(__u64 container, __s64 pages) {
  struct vz_state* state = bpf_map_lookup_elem(&vz_state, &container);
  __u64 held;

  if (!state || !pages) return;
  held = __sync_fetch_and_add(&state->privvm_held, pages) + pages;
  if (pages > 0) note_maximum(state, held);
}

/* Whoever comes last is right: the container holds the sum of what was written last into each debt. */
static __always_inline void settle(struct debt* debt, __u64 pages) {
  __u64 before;

  if (debt->pages == pages) return;
  before = __sync_lock_test_and_set(&debt->pages, pages);
  hold(debt->container, (__s64)(pages - before));
}

static __always_inline struct debt* debt_of(__u64 mm) { return bpf_map_lookup_elem(&vz_mm, &mm); }

/* An address space seen for the first time, of a task in `container`. */
static __always_inline struct debt* adopt(__u64 mm, __u64 container, __u64 pages) {
  struct debt debt = {container, pages};

  if (bpf_map_update_elem(&vz_mm, &mm, &debt, BPF_NOEXIST)) return debt_of(mm);
  hold(container, pages);
  return debt_of(mm);
}

/* Whoever deletes the entry gives the pages back: once. */
static __always_inline void release(__u64 mm, struct debt* debt) {
  __u64 container = debt->container, pages = debt->pages;

  if (!bpf_map_delete_elem(&vz_mm, &mm)) hold(container, -(__s64)pages);
}

/* Takes over what the kernel counts for the current task's memory. */
static __always_inline struct debt* update_current(void) {
  struct mm_struct* mm = bpf_get_current_task_btf()->mm;
  struct debt* debt = debt_of((__u64)mm);
  struct vz_conf* conf;
  __u64 container;

  if (!mm) return NULL;
  if (debt) {
    settle(debt, mm->data_vm);
    return debt;
  }
  container = current_container(&conf);
  return container ? adopt((__u64)mm, container, mm->data_vm) : NULL;
}

static __always_inline int update(void) {
  if (active(VZ_OBJECT_PRIVVM)) update_current();
  return 0;
}

/*
 * All that changes private memory ends in one of these. vm_stat_account(), which sounds like the place, is not asked by
 * munmap(2) and brk(2), and the compiler may have put it into its callers.
 */
#define UPDATE_AFTER(name, function) \
  SEC("fexit/" function)             \
  int name(void* ctx) { return update(); }

UPDATE_AFTER(privvm_mmap, "__x64_sys_mmap")
UPDATE_AFTER(privvm_munmap, "__x64_sys_munmap")
UPDATE_AFTER(privvm_mremap, "__x64_sys_mremap")
UPDATE_AFTER(privvm_brk, "__x64_sys_brk")
UPDATE_AFTER(privvm_mprotect, "__x64_sys_mprotect")
UPDATE_AFTER(privvm_pkey, "__x64_sys_pkey_mprotect")

/* The same for 32-bit programs; a kernel may be built without them. */
#define UPDATE_AFTER_IA32(name, function) \
  SEC("?fexit/" function)                 \
  int name(void* ctx) { return update(); }

UPDATE_AFTER_IA32(privvm_mmap32, "__ia32_sys_mmap_pgoff")
UPDATE_AFTER_IA32(privvm_oldmmap32, "__ia32_compat_sys_ia32_mmap")
UPDATE_AFTER_IA32(privvm_munmap32, "__ia32_sys_munmap")
UPDATE_AFTER_IA32(privvm_mremap32, "__ia32_sys_mremap")
UPDATE_AFTER_IA32(privvm_brk32, "__ia32_sys_brk")
UPDATE_AFTER_IA32(privvm_mprotect32, "__ia32_sys_mprotect")
UPDATE_AFTER_IA32(privvm_pkey32, "__ia32_sys_pkey_mprotect")

/* A new program: its memory is new, too. */
SEC("tp_btf/sched_process_exec")
int privvm_exec(void* ctx) { return update(); }

static __always_inline __u64 container_of_task(struct task_struct* task) {
  struct cgroup* leaf = task->cgroups->dfl_cgrp;
  __u64 found = 0;

  for (int level = 1; level <= VZ_MAX_LEVEL; level++) {
    __u64 id = cgroup_id_of(ancestor_at(leaf, level));

    if (!id) break;
    if (bpf_map_lookup_elem(&vz_conf, &id)) found = id;
  }
  return found;
}

/* The child pays for its copy where it lives: clone3(2) may have put it into another group. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(privvm_fork, struct task_struct* parent, struct task_struct* child) {
  struct mm_struct* mm;
  struct debt* debt;
  __u64 container;

  if (!active(VZ_OBJECT_PRIVVM)) return 0;
  update_current(); /* gives back what privvm_limit had reserved */
  mm = child->mm;
  if (!mm || mm == parent->mm) return 0; /* a kernel thread, a thread, vfork */
  debt = debt_of((__u64)mm);
  if (debt) release((__u64)mm, debt); /* of an address space whose end was missed */
  container = container_of_task(child);
  if (container) adopt((__u64)mm, container, mm->data_vm);
  return 0;
}

/*
 * The one program that must not be missed: pages that are not given back stay held. The kernel leaves out tracing
 * programs at times (see charge_page() in vswap.bpf.c), a kprobe's never.
 */
SEC("kprobe.multi/exit_mmap")
int privvm_exit(struct pt_regs* ctx) {
  __u64 mm = ctx->di;
  struct debt* debt;

  if (!active(VZ_OBJECT_PRIVVM)) return 0;
  debt = debt_of(mm);
  if (debt) release(mm, debt);
  return 0;
}

/*
 * The kernel asks in page faults, too (growing stacks, shared memory): to refuse there would kill. User mode's
 * registers tell: in a fault there is no system call, or one that maps nothing.
 */
enum request { NOT_OURS, MAPS, FORKS };

static __always_inline enum request request_of(struct task_struct* task) {
  struct pt_regs* regs = (void*)bpf_task_pt_regs(task);
  long number = (int)regs->orig_ax;

  if (task->thread_info.status & TS_COMPAT) switch (number) {
      case 2:   /* fork */
      case 120: /* clone */
      case 190: /* vfork */
      case 435: /* clone3 */
        return FORKS;
      case 45:  /* brk */
      case 90:  /* mmap */
      case 125: /* mprotect */
      case 163: /* mremap */
      case 192: /* mmap2 */
      case 380: /* pkey_mprotect */
        return MAPS;
      default:
        return NOT_OURS;
    }
  switch (number) {
    case 56:  /* clone */
    case 57:  /* fork */
    case 58:  /* vfork */
    case 435: /* clone3 */
      return FORKS;
    case 9: /* mmap: shared memory is no private memory */
      return regs->r10 & MAP_SHARED ? NOT_OURS : MAPS;
    case 10:  /* mprotect */
    case 12:  /* brk */
    case 25:  /* mremap */
    case 329: /* pkey_mprotect */
      return MAPS;
    default:
      return NOT_OURS;
  }
}

/* Reserves, so that two that ask at the same time do not both get the last pages; update_current() sets it right. */
static __always_inline int reserve(struct debt* debt, __u64 pages) {
  struct vz_conf* conf = bpf_map_lookup_elem(&vz_conf, &debt->container);
  struct vz_state* state = bpf_map_lookup_elem(&vz_state, &debt->container);
  __u64 held;

  if (!conf || !state || conf->privvm_limit == VZ_UNLIMITED) return 0;
  held = __sync_fetch_and_add(&state->privvm_held, pages) + pages;
  if (held > conf->privvm_limit) {
    __sync_fetch_and_add(&state->privvm_held, -pages);
    __sync_fetch_and_add(&state->privvm_failcnt, 1);
    tell(debt->container, VZ_UB_PRIVVMPAGES);
    return -ENOMEM;
  }
  __sync_fetch_and_add(&debt->pages, pages);
  note_maximum(state, held);
  return 0;
}

SEC("fmod_ret/security_vm_enough_memory_mm")
int BPF_PROG(privvm_limit, struct mm_struct* mm, long pages, int ret) {
  struct task_struct* task = bpf_get_current_task_btf();
  enum request request;
  struct debt* debt;

  if (ret || mm != task->mm || pages <= 0 || !active(VZ_OBJECT_PRIVVM)) return ret;
  debt = update_current();
  if (!debt) return 0;
  request = request_of(task);
  if (request == NOT_OURS) return 0;
  /* asked once per mapping, and the child's sum is not counted yet */
  return reserve(debt, request == FORKS ? mm->data_vm : (unsigned long)pages);
}

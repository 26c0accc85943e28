// SPDX-License-Identifier: GPL-2.0-only
/*
 * Virtual swap is host RAM, and slower by a fixed price: swap-in and swap-out of a container together take place at no
 * more than vswap_rate pages per second, whatever the number of its threads. The price is asked here and paid in vz.ko,
 * which lets the task sleep on its way back to user mode.
 */
#include "vz_common.h"

char LICENSE[] SEC("license") = "GPL";

extern int vz_delay_current(__u64 deadline_ns) __ksym;

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

/* A container that was idle may do this much before it pays: also what a sleep that ended late is given back from. */
#define BURST_NS (50 * NSEC_PER_MSEC)
/* Shorter sleeps cost more than they delay: they are saved up. */
#define QUANTUM_NS (1 * NSEC_PER_MSEC)
/* Debts beyond this are forgotten: what vz.ko lets a task sleep at once, and as much again for the other threads. */
#define MOST_DEBT_NS (60 * NSEC_PER_SEC)
/* How far below its limit a container that reclaims may be: charge batches, pages that other threads just freed. */
#define NEAR_LIMIT_PAGES 2048

enum direction { SWAP_IN, SWAP_OUT };

struct vz_task {
  __u64 deadline; /* owed, and vz.ko not yet told */
  __u64 remote;   /* in a fault on behalf of another process: ptrace, process_vm_readv, /proc/PID/mem */
};

struct {
  __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct vz_task);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_task SEC(".maps");

/* Functions of their own: inline, the compiler computes both offsets first, and one of the fields does not exist. */
static __noinline unsigned long plain_flags(struct folio* folio) { return BPF_CORE_READ(folio, flags); }

static __noinline unsigned long wrapped_flags(struct folio* folio) {
  return BPF_CORE_READ((struct folio___memdesc*)folio, flags.f);
}

static __always_inline unsigned long folio_pages(struct folio* folio) {
  bool wrapped = bpf_core_field_exists(struct folio___memdesc, flags.f);
  unsigned long flags = wrapped ? wrapped_flags(folio) : plain_flags(folio);

  if (!(flags & (1UL << bpf_core_enum_value(enum pageflags, PG_head)))) return 1;
  return 1UL << (BPF_CORE_READ(folio, _flags_1) & 0xf);
}

/* The group that a page of user memory is charged to. */
static __always_inline struct cgroup* folio_cgroup(struct folio* folio) {
  unsigned long data = BPF_CORE_READ(folio, memcg_data) & ~3UL;
  struct mem_cgroup* memcg;

  if (!data) return NULL;
  if (bpf_core_field_exists(struct mem_cgroup___with_objcg, objcg))
    memcg = (struct mem_cgroup*)data;
  else
    memcg = BPF_CORE_READ((struct obj_cgroup*)data, memcg);
  return memcg ? BPF_CORE_READ(memcg, css.cgroup) : NULL;
}

static __always_inline bool at_its_limit(struct cgroup* cgroup) {
  struct mem_cgroup* memcg = memcg_of(cgroup);
  unsigned long usage, max, near;

  if (!memcg) return false;
  usage = BPF_CORE_READ(memcg, memory.usage.counter);
  max = BPF_CORE_READ(memcg, memory.max);
  near = max / 8 < NEAR_LIMIT_PAGES ? max / 8 : NEAR_LIMIT_PAGES;
  return usage + near >= max;
}

/*
 * The bucket, as the time at which the next page would be in time (GCRA). Returns the time at which these pages are
 * paid for. All threads share it, so that it already contains what the others owe.
 */
static __always_inline __u64 charge(struct vz_state* state, __u64 now, __u64 cost) {
  __u64 tat = state->vswap_tat_ns, next = 0;

  for (int i = 0; i < 8; i++) {
    __u64 seen;

    next = tat;
    if (next + BURST_NS < now) next = now - BURST_NS;
    next += cost;
    if (next > now + MOST_DEBT_NS) next = now + MOST_DEBT_NS;
    seen = __sync_val_compare_and_swap(&state->vswap_tat_ns, tat, next);
    if (seen == tat) return next;
    tat = seen;
  }
  /* Eight others were faster: the credit is gone anyway. */
  return __sync_fetch_and_add(&state->vswap_tat_ns, cost) + cost;
}

/* A new rate begins without the debts of the old one. */
static __always_inline void begin_rate(struct vz_state* state, struct vz_conf* conf) {
  __u64 before = state->vswap_since_ns, since = conf->vswap_since_ns;

  if (before == since) return;
  if (__sync_val_compare_and_swap(&state->vswap_since_ns, before, since) == before) state->vswap_tat_ns = 0;
}

static __always_inline __u64 pay(struct vz_conf* conf, __u64 id, unsigned long pages, enum direction direction,
                                 __u64 now) {
  struct vz_state* state = bpf_map_lookup_elem(&vz_state, &id);
  __u64 rate = conf->vswap_rate, cost, deadline;

  if (!state) return 0;
  __sync_fetch_and_add(direction == SWAP_IN ? &state->swapin_pages : &state->swapout_pages, pages);
  if (!rate || conf->flags & VZ_CONF_NO_DELAY) return 0;
  begin_rate(state, conf);
  cost = pages * NSEC_PER_SEC / rate;
  deadline = charge(state, now, cost);
  if (deadline <= now) return 0;
  __sync_fetch_and_add(&state->delayed_ns, deadline - now < cost ? deadline - now : cost);
  return deadline;
}

static __always_inline bool in_a_remote_fault(struct task_struct* task) {
  struct vz_task* own = bpf_task_storage_get(&vz_task, task, NULL, 0);

  return own && own->remote;
}

/* Every container around the current task pays for a page that is its own. Until when is the task to sleep, or 0. */
static __always_inline __u64 charge_containers(struct folio* folio, enum direction direction) {
  struct task_struct* task = bpf_get_current_task_btf();
  __u64 now = bpf_ktime_get_ns(), deadline = 0;
  struct cgroup* owner = NULL;
  unsigned long pages = 0;

  if (!task->mm || task->flags & PF_KTHREAD) return 0;
  for (int level = 1; level <= VZ_MAX_LEVEL; level++) {
    __u64 id = bpf_get_current_ancestor_cgroup_id(level), due;
    struct cgroup* container;
    struct vz_conf* conf;

    if (!id) break;
    conf = bpf_map_lookup_elem(&vz_conf, &id);
    if (!conf) continue;
    if (!pages) {
      if (direction == SWAP_IN && in_a_remote_fault(task)) return 0;
      owner = folio_cgroup(folio);
      pages = folio_pages(folio);
    }
    container = ancestor_at(owner, level);
    if (cgroup_id_of(container) != id) break;
    if (direction == SWAP_OUT && !at_its_limit(container)) continue;
    due = pay(conf, id, pages, direction, now);
    if (due > deadline) deadline = due;
  }
  /* io_uring's workers never return to user mode. The others pay for what they swap. */
  return deadline > now + QUANTUM_NS && !(task->flags & PF_USER_WORKER) ? deadline : 0;
}

/*
 * Charging and telling vz.ko are two programs. The kernel does not run a tracing program (fentry, fexit) on a CPU where
 * another task is suspended in the middle of it: with several threads, a tenth of all pages went for nothing. A
 * kprobe's program is never suspended, but may not call vz.ko. So the kprobe charges, every time, and leaves the
 * deadline with the task; the tracing program passes it on, and if it is left out, the next one does.
 */
static __always_inline int charge_page(struct folio* folio, enum direction direction) {
  struct vz_task* own;
  __u64 deadline;

  if (!active(VZ_OBJECT_VSWAP)) return 0;
  deadline = charge_containers(folio, direction);
  if (!deadline) return 0;
  own = bpf_task_storage_get(&vz_task, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (own && own->deadline < deadline) own->deadline = deadline;
  return 0;
}

static __always_inline int tell_module(void) {
  struct vz_task* own = bpf_task_storage_get(&vz_task, bpf_get_current_task_btf(), NULL, 0);

  if (!own || !own->deadline || !active(VZ_OBJECT_VSWAP)) return 0;
  vz_delay_current(own->deadline);
  own->deadline = 0;
  return 0;
}

SEC("kprobe.multi/swap_read_folio")
int vswap_in(struct pt_regs* ctx) { return charge_page((struct folio*)ctx->di, SWAP_IN); }

SEC("fexit/swap_read_folio")
int vswap_in_end(void* ctx) { return tell_module(); }

/*
 * A page goes out when reclaim hands it to the swap code, whatever that makes of it: zero-filled pages and those that
 * zswap takes are paid for as they are on their way in. Getting a place in swap is not the moment: a page that was read
 * back may keep its place and be written there again. One function, renamed; a head page is where its folio is.
 */
SEC("?kprobe.multi/swap_writepage")
int vswap_out_page(struct pt_regs* ctx) { return charge_page((struct folio*)ctx->di, SWAP_OUT); }

SEC("?fexit/swap_writepage")
int vswap_out_page_end(void* ctx) { return tell_module(); }

SEC("?kprobe.multi/swap_writeout")
int vswap_out_folio(struct pt_regs* ctx) { return charge_page((struct folio*)ctx->di, SWAP_OUT); }

SEC("?fexit/swap_writeout")
int vswap_out_folio_end(void* ctx) { return tell_module(); }

/* In whose name is this fault? Shared memory has a way of its own. Neither way nests. */
static __always_inline int enter_fault(struct vm_fault* vmf) {
  struct task_struct* task = bpf_get_current_task_btf();
  struct vz_task* own;

  if (vmf->vma->vm_mm == task->mm) return 0;
  own = bpf_task_storage_get(&vz_task, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (own) own->remote = 1;
  return 0;
}

static __always_inline int leave_fault(void) {
  struct vz_task* own = bpf_task_storage_get(&vz_task, bpf_get_current_task_btf(), NULL, 0);

  /* The fault may have let go of the address space: do not look at its arguments. */
  if (own) own->remote = 0;
  return 0;
}

SEC("fentry/do_swap_page")
int BPF_PROG(vswap_fault, struct vm_fault* vmf) { return enter_fault(vmf); }

SEC("fexit/do_swap_page")
int BPF_PROG(vswap_fault_end, struct vm_fault* vmf) { return leave_fault(); }

SEC("fentry/shmem_fault")
int BPF_PROG(vswap_shm, struct vm_fault* vmf) { return enter_fault(vmf); }

SEC("fexit/shmem_fault")
int BPF_PROG(vswap_shm_end, struct vm_fault* vmf) { return leave_fault(); }

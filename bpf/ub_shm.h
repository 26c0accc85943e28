/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * shmpages: shared memory in pages, whether it is in RAM or in swap. As the kernel accounts it for overcommitting, and
 * as OpenVZ counted it: segments of System V and shared anonymous mappings by their size, from their making on; files
 * of tmpfs, memfd and what was mapped with MAP_NORESERVE by the pages that they have.
 *
 * Both end in security_vm_enough_memory_mm(), which does not know what is asked for: a program on the function around
 * it decides and counts, and leaves a note with the task; another one refuses what was noted. What has been counted for
 * an inode is known by its address, and all of it is given back when the inode goes.
 */
#ifndef UB_SHM_H
#define UB_SHM_H

#include "ub_charge.h"

/* VM_NORESERVE of 6.12, and SHMEM_F_NORESERVE of 7.2, which in 6.12 is a bit that is never set there */
#define NO_RESERVE_OF_INODE 0x200001ULL
#define NO_RESERVE_OF_MAPPING 0x200000ULL /* in both */
#define MOST_BYTES 0x7fffffffffffffffULL
#define MOST_ERRNO 4095ULL

/* Who pays for how many pages of an inode. */
struct debt {
  __u64 container, pages;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, __u64);
  __type(value, struct debt);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_shm SEC(".maps");

/* What a task is in the middle of asking for. */
struct asked {
  __u64 refused_pages;    /* the request for so many that comes next is to be refused, */
  __u64 refused_inode;    /* and was, for this one */
  __u64 told_inode;       /* a refusal for this one was counted: the kernel asks for it once more */
  __u64 container, pages; /* paid for an object that has no inode yet */
};

struct {
  __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct asked);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} vz_ub_asked SEC(".maps");

static __always_inline struct asked* asked_for(__u64 flags) {
  return bpf_task_storage_get(&vz_ub_asked, bpf_get_current_task_btf(), NULL, flags);
}

/* Paid for by pages, not as a whole. */
static __always_inline bool by_pages(__u64 inode) {
  struct shmem_inode_info* info = (void*)(inode - bpf_core_field_offset(struct shmem_inode_info, vfs_inode));

  return BPF_CORE_READ(info, flags) & NO_RESERVE_OF_INODE;
}

static __always_inline void forget_object(struct asked* mine) {
  __u64 container = mine->container, pages = mine->pages;

  mine->container = 0;
  if (container) give_back(container, VZ_UB_SHMPAGES, pages);
}

/* The container, which has been charged, owes it from now on. */
static __always_inline void owe(__u64 inode, struct debt* debt, __u64 container, __u64 pages) {
  struct debt none = {container, 0};
  struct vz_ub* ub;

  if (!debt) {
    remember(&vz_ub_shm, &inode, &none);
    debt = bpf_map_lookup_elem(&vz_ub_shm, &inode);
  }
  if (debt && debt->container == container) {
    __sync_fetch_and_add(&debt->pages, pages);
    return;
  }
  /* No room, or at the same moment somebody of another container was first: the page is in no count. */
  give_back(container, VZ_UB_SHMPAGES, pages);
  ub = bpf_map_lookup_elem(&vz_ub, &container);
  if (ub) __sync_fetch_and_add(&ub->uncounted, 1);
}

/* No more than is owed. */
static __always_inline void pay_back(struct debt* debt, __u64 pages) {
  __u64 before = debt->pages, container = debt->container;

  for (int i = 0; i < 16 && before; i++) {
    __u64 some = pages < before ? pages : before;
    __u64 seen = __sync_val_compare_and_swap(&debt->pages, before, before - some);

    if (seen == before) {
      give_back(container, VZ_UB_SHMPAGES, some);
      return;
    }
    before = seen;
  }
}

/* The kernel asks for a page twice before it gives up: one refusal. */
static __always_inline void refuse_pages(struct vz_ub* ub, __u64 container, __u64 pages, __u64 inode) {
  struct asked* mine = asked_for(BPF_LOCAL_STORAGE_GET_F_CREATE);

  if (!mine) return;
  mine->refused_pages = pages;
  mine->refused_inode = inode;
  if (inode && mine->told_inode == inode) {
    mine->told_inode = 0;
    return;
  }
  mine->told_inode = inode;
  refuse(ub, container, VZ_UB_SHMPAGES);
}

SEC("kprobe.multi/shmem_inode_acct_blocks")
int ub_shm_charge(struct pt_regs* ctx) {
  __u64 inode = ctx->di, pages = ctx->si, container, bound;
  struct debt* debt;
  struct asked* mine;
  struct vz_ub* ub;

  if (!active(VZ_OBJECT_UB)) return 0;
  debt = bpf_map_lookup_elem(&vz_ub_shm, &inode);
  container = debt ? debt->container : current_home();
  ub = container ? bpf_map_lookup_elem(&vz_ub, &container) : NULL;
  if (!ub || !by_pages(inode)) return 0;
  bound = bound_of(container, VZ_UB_SHMPAGES, HARD);
  if (!add(ub, VZ_UB_SHMPAGES, bound, pages)) {
    refuse_pages(ub, container, pages, inode);
    return 0;
  }
  owe(inode, debt, container, pages);
  mine = bound < VZ_UB_UNLIMITED ? asked_for(0) : NULL;
  if (mine) mine->told_inode = 0;
  return 0;
}

SEC("fmod_ret/security_vm_enough_memory_mm")
int BPF_PROG(ub_shm_refuse, struct mm_struct* mm, long pages, int ret) {
  struct asked* mine = asked_for(0);
  __u64 refused;

  if (!mine || !mine->refused_pages) return ret;
  refused = mine->refused_pages;
  mine->refused_pages = 0;
  return refused == (__u64)pages ? -ENOMEM : ret;
}

/* Not had after all. What we have refused was not counted; else the file system or a quota is full. */
SEC("fexit/shmem_inode_acct_blocks")
int ub_shm_failed(void* ctx) {
  __u64 inode = 0, pages = 0, ret = 0;
  struct asked* mine;
  struct debt* debt;

  if (bpf_get_func_ret(ctx, &ret) || !(int)ret || !active(VZ_OBJECT_UB)) return 0;
  if (bpf_get_func_arg(ctx, 0, &inode) || bpf_get_func_arg(ctx, 1, &pages)) return 0;
  mine = asked_for(0);
  if (mine && mine->refused_inode == inode) {
    mine->refused_inode = 0;
    return 0;
  }
  debt = bpf_map_lookup_elem(&vz_ub_shm, &inode);
  if (debt && by_pages(inode)) pay_back(debt, pages);
  return 0;
}

/* Paid for as a whole: the size is the third argument, the flags are the fourth. */
SEC("kprobe.multi/__shmem_file_setup")
int ub_shm_make(struct pt_regs* ctx) {
  __u64 size = ctx->dx, pages = (size + (1 << PAGE_SHIFT) - 1) >> PAGE_SHIFT, container;
  struct asked* mine;
  struct vz_ub* ub;

  if (!size || size > MOST_BYTES || ctx->cx & NO_RESERVE_OF_MAPPING || !active(VZ_OBJECT_UB)) return 0;
  container = current_home();
  ub = container ? bpf_map_lookup_elem(&vz_ub, &container) : NULL;
  mine = ub ? asked_for(BPF_LOCAL_STORAGE_GET_F_CREATE) : NULL;
  if (!ub || !mine) return 0;
  forget_object(mine); /* of one whose end was missed */
  if (!reserve(ub, VZ_UB_SHMPAGES, bound_of(container, VZ_UB_SHMPAGES, HARD), pages)) {
    refuse_pages(ub, container, pages, 0);
    return 0;
  }
  mine->container = container;
  mine->pages = pages;
  return 0;
}

static __always_inline int name_object(void* ctx) {
  struct asked* mine = asked_for(0);
  __u64 file = 0, container, pages;
  struct vz_ub* ub;

  if (!mine || !mine->container || bpf_get_func_ret(ctx, &file)) return 0;
  if (file > -MOST_ERRNO - 1) {
    forget_object(mine);
    return 0;
  }
  container = mine->container;
  pages = mine->pages;
  mine->container = 0;
  ub = bpf_map_lookup_elem(&vz_ub, &container);
  if (ub) note_held(ub, VZ_UB_SHMPAGES); /* not before: the kernel may have refused what nobody could ever have */
  owe((__u64)BPF_CORE_READ((struct file*)file, f_inode), NULL, container, pages);
  return 0;
}

/* One may be left out. */
SEC("fexit/__shmem_file_setup")
int ub_shm_made1(void* ctx) { return name_object(ctx); }

SEC("fexit/__shmem_file_setup")
int ub_shm_made2(void* ctx) { return name_object(ctx); }

SEC("kprobe.multi/shmem_inode_unacct_blocks")
int ub_shm_uncharge(struct pt_regs* ctx) {
  __u64 inode = ctx->di;
  struct debt* debt = active(VZ_OBJECT_UB) ? bpf_map_lookup_elem(&vz_ub_shm, &inode) : NULL;

  if (debt && by_pages(inode)) pay_back(debt, ctx->si);
  return 0;
}

SEC("kprobe.multi/shmem_evict_inode")
int ub_shm_free(struct pt_regs* ctx) {
  __u64 inode = ctx->di;
  struct debt* debt = bpf_map_lookup_elem(&vz_ub_shm, &inode);

  if (!debt) return 0;
  pay_back(debt, MOST_BYTES);
  forget(&vz_ub_shm, &inode);
  return 0;
}

#endif /* UB_SHM_H */

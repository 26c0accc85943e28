/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's types, as far as the programs here look into them. Offsets are corrected when a program is loaded
 * (CO-RE), so that a structure lists only the fields in use, in any order.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
/* libbpf's list of helpers mentions these */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0

/* Parts of the interface to user space: values never change. */
enum bpf_map_type {
  BPF_MAP_TYPE_HASH = 1,
  BPF_MAP_TYPE_ARRAY = 2,
  BPF_MAP_TYPE_PERCPU_ARRAY = 6,
  BPF_MAP_TYPE_LRU_HASH = 9,
  BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
  BPF_MAP_TYPE_RINGBUF = 27,
  BPF_MAP_TYPE_TASK_STORAGE = 29,
  BPF_MAP_TYPE_CGRP_STORAGE = 32,
};
enum {
  BPF_ANY = 0,
  BPF_NOEXIST = 1,
};
enum {
  BPF_F_NO_PREALLOC = 1,
};
enum {
  BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
  int counter;
} atomic_t;

typedef struct {
  s64 counter;
} atomic64_t;

typedef atomic64_t atomic_long_t;

struct kernfs_node {
  u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
  struct cgroup* cgroup;
  struct cgroup_subsys_state* parent;
};

/* Values differ with the configuration: use bpf_core_enum_value(). */
enum cgroup_subsys_id {
  memory_cgrp_id,
  pids_cgrp_id,
};

struct cgroup {
  struct cgroup_subsys_state self;
  int level;
  struct kernfs_node* kn;
  struct cgroup_subsys_state* subsys[16];
  struct cgroup* ancestors[];
};

struct css_set {
  struct cgroup* dfl_cgrp;
};

struct page_counter {
  atomic_long_t usage;
  unsigned long max;
  unsigned long watermark;
  struct page_counter* parent;
};

/* Values differ with the configuration, as above. */
enum node_stat_item {
  NR_UNEVICTABLE,
  NR_SHMEM,
  NR_SLAB_RECLAIMABLE_B,
};

enum memcg_stat_item {
  MEMCG_KMEM,
};

enum memcg_memory_event {
  MEMCG_MAX,
  MEMCG_OOM_KILL,
  MEMCG_SWAP_MAX,
};

struct memcg_vmstats {
  long state[1];
};

struct mem_cgroup {
  struct cgroup_subsys_state css;
  struct page_counter memory;
  struct page_counter swap;
  struct memcg_vmstats* vmstats;
  atomic_long_t memory_events[1];
  atomic_long_t memory_events_local[1];
};

struct obj_cgroup {
  struct mem_cgroup* memcg;
};

/* A kernel whose mem_cgroup has an objcg of its own keeps the mem_cgroup in folio->memcg_data, a later one an objcg. */
struct mem_cgroup___with_objcg {
  struct obj_cgroup* objcg;
};

struct pids_cgroup {
  struct cgroup_subsys_state css;
  atomic64_t counter;
  s64 watermark;
  atomic64_t events[1];
};

struct mm_struct {
  unsigned long data_vm;
};

struct vm_area_struct {
  struct mm_struct* vm_mm;
};

struct vm_fault {
  struct vm_area_struct* vma;
};

struct thread_info {
  u32 status;
};

struct bpf_map {
  u32 max_entries;
};

struct list_head {
  struct list_head* next;
};

struct sigpending {
  struct list_head list;
};

struct signal_struct {
  unsigned int flags;
  struct sigpending shared_pending;
};

struct net_generic;

struct net {
  struct net_generic* gen;
};

struct nsproxy {
  struct net* net_ns;
};

/* Of modules: nf_tables, x_tables. */
struct nftables_pernet {
  struct list_head tables;
};

struct nft_table {
  struct list_head list;
  struct list_head chains;
};

struct nft_chain {
  struct list_head rules;
  struct list_head list;
};

struct xt_table_info {
  unsigned int number;
};

struct xt_table {
  struct list_head list;
  struct xt_table_info* private;
};

struct xt_pernet {};

struct kernel_siginfo {
  int si_code;
};

struct task_struct {
  struct thread_info thread_info;
  unsigned int flags;
  int pid;
  int tgid;
  struct mm_struct* mm;
  struct css_set* cgroups;
  struct nsproxy* nsproxy;
  struct signal_struct* signal;
  struct sigpending pending;
};

/* Kernel functions for programs. */
struct bpf_iter_task {
  __u64 __opaque[3];
};

enum pageflags {
  PG_head,
};

struct folio {
  unsigned long flags;
  unsigned long memcg_data;
  unsigned long _flags_1;
};

/* since 6.18 */
typedef struct {
  unsigned long f;
} memdesc_flags_t;

struct folio___memdesc {
  memdesc_flags_t flags;
};

struct pt_regs {
  unsigned long bx;
  unsigned long dx;
  unsigned long cx;
  unsigned long r10;
  unsigned long si;
  unsigned long di;
  unsigned long orig_ax;
};

struct linux_binprm;
struct request_sock;

struct super_block {
  unsigned long s_magic;
};

struct inode {
  u32 i_rdev;
  struct super_block* i_sb;
};

struct shmem_inode_info {
  unsigned long flags;
  struct inode vfs_inode;
};

struct file_operations {
  void* lock;
  void* flock;
};

struct file {
  struct inode* f_inode;
  const struct file_operations* f_op;
};

struct file_lock_core {
  unsigned int flc_flags;
  struct file* flc_file;
};

struct file_lock {
  struct file_lock_core c;
};

typedef struct {
  atomic_t refs;
} refcount_t;

typedef struct {
  struct net* net;
} possible_net_t;

struct sock_common {
  unsigned short skc_family;
  possible_net_t skc_net;
};

struct sock {
  struct sock_common __sk_common;
  u16 sk_type;
  u16 sk_protocol;
  struct {
    atomic_t rmem_alloc;
  } sk_backlog;
  int sk_wmem_queued;
  refcount_t sk_wmem_alloc;
};

struct socket {
  struct sock* sk;
};

struct sk_buff {
  unsigned int len;
  unsigned char* data;
};

struct pts_fs_info;

#pragma clang attribute pop

#endif /* __VMLINUX_H__ */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vz.ko: what system containers on a stock kernel need from inside of it.
 * This header is what its files know of each other.
 */
#ifndef VZ_INTERNAL_H
#define VZ_INTERNAL_H

#include <linux/cgroup.h>
#include <linux/in6.h>
#include <linux/llist.h>
#include <linux/mmzone.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/vz.h>

#undef pr_fmt
#define pr_fmt(fmt) "vz: " fmt

/* What user space says about a container. */
struct vz_ct_info {
	u64 cgroup_id;
	u64 boot_ns;
	u32 ctid;
	u32 cpus;
	u32 flags;
	char name[VZ_NAME_MAX + 1];
};

/* Which members a CT_SET changes. */
enum vz_ct_field {
	VZ_CT_BOOT_NS	= BIT(0),
	VZ_CT_CTID	= BIT(1),
	VZ_CT_CPUS	= BIT(2),
	VZ_CT_FLAGS	= BIT(3),
	VZ_CT_NAME	= BIT(4),
	VZ_CT_ADDRS	= BIT(5),
};

struct vz_addr {
	u16 type;			/* enum vz_addr_type */
	union {
		__be32 ipv4;
		struct in6_addr ipv6;
	};
};

/* Of a container; never changed, only replaced. */
struct vz_addrs {
	struct rcu_head rcu;
	unsigned int count;
	struct vz_addr addr[];
};

/* The beancounters, numbered as in user_beancounters; swappages is only in bc/. */
enum vz_ub_number {
	VZ_UB_KMEMSIZE,
	VZ_UB_LOCKEDPAGES,
	VZ_UB_PRIVVMPAGES,
	VZ_UB_SHMPAGES,
	VZ_UB_NUMPROC = 5,
	VZ_UB_PHYSPAGES,
	VZ_UB_VMGUARPAGES,
	VZ_UB_OOMGUARPAGES,
	VZ_UB_DCACHESIZE = 18,
	VZ_UB_SWAPPAGES = 24,
};

struct vz_ub_row {
	u64 held;
	u64 maxheld;
	u64 barrier;
	u64 limit;
	u64 failcnt;
};

struct vz_ub_set {
	struct vz_ub_row row[VZ_UB_ROWS];
};

/* Tasks of a container, counted every five seconds. */
struct vz_load {
	unsigned long avg[3];		/* decayed, as avenrun */
	unsigned int running;
	unsigned int blocked;
	unsigned int threads;
};

struct vz_cpu_time {
	u64 user_ns;			/* without nice_ns */
	u64 nice_ns;
	u64 system_ns;
};

/* Kills of a whole group follow one another within this time of its OOM. */
#define VZ_OOM_GROUP_JIFFIES	HZ

struct vz_ct {
	struct hlist_node node;
	struct rcu_head rcu;
	spinlock_t lock;		/* all below but for info.cgroup_id and count */
	struct vz_ct_info info;
	struct vz_load load;
	struct vz_cpu_time cpu_time;	/* the latest that was told */
	unsigned long ooms;		/* of its own limits, as of the latest event */
	unsigned long oom_jiffies;	/* when that was */
	struct vz_load count;		/* of the pass that is under way: load.c's */
	u64 ub_maxheld[VZ_UB_ROWS];	/* the most that a reader was told */
	struct vz_addrs __rcu *addrs;
};

/* A container for a reader of vzfs; it holds the cgroup. */
struct vz_view {
	struct cgroup *cgrp;
	struct vz_ct_info info;
	struct vz_load load;
	bool nested;			/* in another container */
};

/* Containers that a reader may see, by number; the first is the host for a reader of the host. */
struct vz_list {
	u64 reader;			/* cgroup id of the reader's container, 0: of the host */
	unsigned int count;
	struct vz_list_item {
		u64 cgroup_id;		/* 0: the host */
		u32 ctid;
	} item[];
};

/* Pages; VZ_NO_LIMIT where there is none. */
#define VZ_NO_LIMIT	ULONG_MAX

struct vz_memory {
	unsigned long ram_usage;
	unsigned long ram_limit;
	unsigned long swap_usage;
	unsigned long swap_limit;
};

/* Where a dump goes on. */
struct vz_ct_position {
	unsigned int bucket;
	unsigned int skip;
};

int vz_ct_init(void);
void vz_ct_exit(void);
int vz_ct_add(const struct vz_ct_info *info, struct vz_addrs *addrs);
int vz_ct_set(const struct vz_ct_info *info, unsigned int fields, struct vz_addrs *addrs);
int vz_ct_del(u64 cgroup_id);
int vz_ct_get(u64 cgroup_id, struct vz_ct_info *info);
bool vz_ct_next(struct vz_ct_position *position, struct vz_ct_info *info);
unsigned int vz_ct_count(void);
unsigned int vz_ct_generation(void);
bool vz_ct_delays(struct task_struct *task, u64 *cgroup_id);
struct vz_ct *vz_ct_lookup(u64 cgroup_id);
struct vz_ct *vz_ct_around(struct cgroup *cgrp);
void vz_ct_for_each(void (*visit)(struct vz_ct *ct));
void vz_ct_drop_dead(void);
bool vz_view_get(struct vz_view *view);
bool vz_view_find(u64 cgroup_id, struct vz_view *view);
bool vz_view_find_ctid(u32 ctid, struct vz_view *view);
void vz_view_put(struct vz_view *view);
u64 vz_ct_of_reader(void);

struct vz_list *vz_list_make(void);

int vz_load_init(void);
void vz_load_exit(void);
void vz_load_start(void);

void vz_memory_of(struct mem_cgroup *memcg, struct vz_memory *memory);
struct mem_cgroup *vz_memcg_get(struct cgroup *cgrp);
struct mem_cgroup *vz_memcg_get_own(struct cgroup *cgrp);
void vz_memcg_put(struct mem_cgroup *memcg);
unsigned long vz_memcg_ooms(struct cgroup *cgrp);
void vz_memcg_lru(struct mem_cgroup *memcg, unsigned long lru[NR_LRU_LISTS]);

void vz_cpu_time_of(const struct vz_view *view, struct vz_cpu_time *time);

struct vz_cgfile;
struct vz_cgfile *vz_cgfile_new(void);
void vz_cgfile_free(struct vz_cgfile *file);
const char *vz_cgfile_text(struct vz_cgfile *file, struct cgroup *cgrp, int subsys,
			   const char *name);
bool vz_cgfile_number(struct cgroup *cgrp, int subsys, const char *name, u64 *value);

struct bpf_map;
struct bpf_prog;
struct vz_ub_maps;
int vz_ub_init(void);
void vz_ub_exit(void);
int vz_ub_set_maps(struct bpf_map *ub, struct bpf_map *conf, struct bpf_prog *refresh);
u32 vz_ub_state(void);
struct vz_ub_maps *vz_ub_maps_get(void);
void vz_ub_maps_put(struct vz_ub_maps *maps);
int vz_ub_refresh(struct vz_ub_maps *maps);
void vz_ub_of(const struct vz_view *view, struct vz_ub_maps *maps, struct vz_cgfile *file,
	      struct vz_ub_set *set);
u64 vz_all_threads(void);
void vz_ub_of_host(struct vz_ub_set *set, const struct vz_ub_set *containers);

int vz_host_init(void);
void vz_host_exit(void);
char *vz_host_text(const char *name);
unsigned long vz_host_value(const char *text, const char *key);

int vz_oom_init(void);
void vz_oom_exit(void);

int vzfs_init(void);
void vzfs_exit(void);
int vz_show_meminfo(struct seq_file *m, void *unused);
int vz_show_stat(struct seq_file *m, void *unused);
int vz_show_uptime(struct seq_file *m, void *unused);
int vz_show_loadavg(struct seq_file *m, void *unused);
int vz_show_cpuinfo(struct seq_file *m, void *unused);
int vz_show_swaps(struct seq_file *m, void *unused);
int vz_show_meminfo_of(struct seq_file *m, const struct vz_view *view);
u64 vz_uptime_ns(const struct vz_view *view);
u64 vz_idle_ns(const struct vz_view *view, const struct vz_cpu_time *used);

/* What a file of a list has at its start, and for each container; view is NULL for the host. */
struct vz_list_format {
	void (*head)(struct seq_file *m);
	void (*row)(struct seq_file *m, u32 ctid, const struct vz_view *view);
	void (*counters)(struct seq_file *m, u32 ctid, const struct vz_ub_set *set);
};

extern const struct vz_list_format vz_user_beancounters;
extern const struct vz_list_format vz_bc_resources;
extern const struct vz_list_format vz_veinfo;
extern const struct vz_list_format vz_vestat;
extern const struct vz_list_format vz_veip;
int vz_list_open(struct file *file, const struct vz_list_format *format);
void vz_list_close(struct file *file);
int vz_show_version(struct seq_file *m, void *unused);
int vz_show_vswap(struct seq_file *m, void *unused);
int vz_show_bc_resources(struct seq_file *m, void *unused);
int vz_show_bc_ioacct(struct seq_file *m, void *unused);
int vz_show_bc_vmaux(struct seq_file *m, void *unused);
int vz_show_bc_meminfo(struct seq_file *m, void *unused);
int vz_show_bc_tasks(struct seq_file *m, void *unused);
u32 vzfs_ctid(const struct seq_file *m);

int vz_links_init(void);
void vz_links_exit(void);

int vz_delay_init(void);
void vz_delay_exit(void);
void vz_delay_forgive(u64 cgroup_id);
unsigned int vz_delay_count(void);
int vz_delay_current(u64 deadline_ns);	/* for BPF programs */

/* An OOM kill, noted where it happens and told later. */
struct vz_oom_event {
	struct llist_node node;
	struct vz_ct_info ct;
	struct vz_memory memory;
	u64 rss_anon;
	u64 rss_file;
	u64 rss_shmem;
	u64 swap_ents;
	u32 event;			/* enum vz_event */
	u32 pid;
	u32 uid;
	char comm[TASK_COMM_LEN];
};

struct genl_info;
struct sk_buff;
struct vz_addrs *vz_get_addrs(struct genl_info *info, unsigned int *fields);
int vz_put_addrs_of(struct sk_buff *skb, u64 cgroup_id);
int vz_cmd_ub_maps(struct sk_buff *skb, struct genl_info *info);

int vz_netlink_init(void);
void vz_netlink_oom(const struct vz_oom_event *event);
void vz_netlink_exit(void);

#endif /* VZ_INTERNAL_H */

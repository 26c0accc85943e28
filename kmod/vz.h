/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vz.ko: what system containers on a stock kernel need from inside of it.
 * This header is what its files know of each other.
 */
#ifndef VZ_H
#define VZ_H

#include <linux/cgroup.h>
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
};

/* Where a dump goes on. */
struct vz_ct_position {
	unsigned int bucket;
	unsigned int skip;
};

int vz_ct_init(void);
void vz_ct_exit(void);
int vz_ct_add(const struct vz_ct_info *info);
int vz_ct_set(const struct vz_ct_info *info, unsigned int fields);
int vz_ct_del(u64 cgroup_id);
int vz_ct_get(u64 cgroup_id, struct vz_ct_info *info);
bool vz_ct_next(struct vz_ct_position *position, struct vz_ct_info *info);
unsigned int vz_ct_count(void);
unsigned int vz_ct_generation(void);
u64 vz_ct_id_of(struct task_struct *task);

int vz_delay_init(void);
void vz_delay_exit(void);
void vz_delay_forgive(u64 cgroup_id);
unsigned int vz_delay_count(void);

int vz_netlink_init(void);
void vz_netlink_exit(void);

#endif /* VZ_H */

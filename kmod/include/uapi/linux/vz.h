/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * vz: the generic netlink family of vz.ko.
 *
 * The module knows a container by the id of its control group (cgroup v2
 * inode number of P/ct, see libvz/kernel/cgroup.h): the group that carries
 * every limit and below which all of the container's tasks live.
 *
 * Rules: attributes are appended, never renumbered. An unknown attribute or
 * command is refused with an extended ack. All commands need CAP_SYS_ADMIN in
 * the initial user namespace and the initial network namespace.
 */
#ifndef _UAPI_LINUX_VZ_H
#define _UAPI_LINUX_VZ_H

#include <linux/types.h>

#define VZ_GENL_NAME		"vz"
#define VZ_GENL_VERSION		1
#define VZ_GENL_MCGRP_EVENTS	"events"

/* Raised when libvz and vz.ko stop to understand each other. */
#define VZ_ABI			1

#define VZ_NAME_MAX		63	/* without the trailing NUL */

/*
 * Containers. VZ_CMD_CT_GET with a dump flag lists all of them.
 *
 * VZ_CMD_INFO	-> ABI, VERSION, NR_CTS, NR_SLEEPERS
 * VZ_CMD_CT_ADD	CGROUP_ID, CTID [, NAME, CPUS, BOOT_NS, FLAGS]
 *		-EEXIST: this group is known already; -ENOENT: no such group
 * VZ_CMD_CT_SET	CGROUP_ID and what changes
 * VZ_CMD_CT_DEL	CGROUP_ID; -ENOENT
 * VZ_CMD_CT_GET	CGROUP_ID -> all CT attributes; -ENOENT
 * VZ_CMD_EVENT	only as a multicast to VZ_GENL_MCGRP_EVENTS
 *
 * VZ_CMD_UB_MAPS	[UB_FD, UB_CONF_FD [, UB_REFRESH_FD]]: where the beancounters
 *		are, in place of what was told before; without any: nowhere.
 *		Descriptors of the sender. -EBADF, -EINVAL: not such a map or program
 */
enum vz_command {
	VZ_CMD_UNSPEC,
	VZ_CMD_INFO,
	VZ_CMD_CT_ADD,
	VZ_CMD_CT_SET,
	VZ_CMD_CT_DEL,
	VZ_CMD_CT_GET,
	VZ_CMD_EVENT,
	VZ_CMD_UB_MAPS,

	__VZ_CMD_MAX,
	VZ_CMD_MAX = __VZ_CMD_MAX - 1,
};

enum vz_attr {
	VZ_A_UNSPEC,
	VZ_A_PAD,
	VZ_A_ABI,		/* u32 */
	VZ_A_VERSION,		/* string: version of the module */
	VZ_A_NR_CTS,		/* u32 */
	VZ_A_NR_SLEEPERS,	/* u32: tasks with a delay pending or sleeping */
	VZ_A_CGROUP_ID,		/* u64 */
	VZ_A_CTID,		/* u32: container number, 1 to 2147483647 */
	VZ_A_NAME,		/* string, at most VZ_NAME_MAX */
	VZ_A_CPUS,		/* u32: CPUs that the container is shown, 0: all it may run on */
	VZ_A_BOOT_NS,		/* u64: CLOCK_BOOTTIME of its start, 0: time of CT_ADD */
	VZ_A_FLAGS,		/* u32: enum vz_ct_flags */
	VZ_A_EVENT,		/* u32: enum vz_event */
	VZ_A_PID,		/* u32: of the victim, in the initial pid namespace */
	VZ_A_COMM,		/* string */
	VZ_A_UID,		/* u32, in the initial user namespace */
	VZ_A_RSS_ANON,		/* u64, bytes */
	VZ_A_RSS_FILE,		/* u64, bytes */
	VZ_A_RSS_SHMEM,		/* u64, bytes */
	VZ_A_SWAP_ENTS,		/* u64, bytes of the victim in swap */
	VZ_A_RAM_USAGE,		/* u64, bytes: of the container at that moment */
	VZ_A_RAM_LIMIT,		/* u64, bytes; U64_MAX: none */
	VZ_A_SWAP_USAGE,	/* u64, bytes */
	VZ_A_SWAP_LIMIT,	/* u64, bytes; U64_MAX: none */
	VZ_A_ADDRS,		/* nested, enum vz_addr_type: all of its addresses, for /proc/vz */
	/* u32: BPF hashes, u64 cgroup id -> u64 [VZ_UB_ROWS] of each, and maybe more */
	VZ_A_UB_FD,		/* held, maxheld, failcnt */
	VZ_A_UB_CONF_FD,	/* barrier, limit */
	VZ_A_UB_REFRESH_FD,	/* u32: BPF program of type syscall, run before the map is read */
	VZ_A_UB_STATE,		/* u32 of INFO: enum vz_ub_state */

	__VZ_A_MAX,
	VZ_A_MAX = __VZ_A_MAX - 1,
};

enum vz_ct_flags {
	/*
	 * Nobody in it is delayed: debts are forgotten, sleepers wake. For a
	 * container that is frozen, checkpointed or stopped.
	 */
	VZ_CT_NO_DELAY		= 1,

	VZ_CT_FLAGS_MASK	= VZ_CT_NO_DELAY,
};

/* In VZ_A_ADDRS, at most VZ_ADDRS_MAX in any order. */
#define VZ_ADDRS_MAX		128

enum vz_addr_type {
	VZ_ADDR_UNSPEC,
	VZ_ADDR_IPV4,		/* 4 bytes, network order */
	VZ_ADDR_IPV6,		/* 16 bytes */
};

/* Resources of a beancounter, in the order of /proc/user_beancounters, then swappages. */
#define VZ_UB_ROWS		25

enum vz_ub_state {
	VZ_UB_HAS_MAPS		= 1,
	VZ_UB_HAS_REFRESH	= 2,
};

enum vz_event {
	VZ_EVENT_UNSPEC,
	VZ_EVENT_OOM_KILL,	/* CGROUP_ID, CTID, NAME, PID, COMM, UID, sizes, limits */
	/* The same, but the host or a group above the container ran out of memory. */
	VZ_EVENT_HOST_OOM_KILL,
};

#endif /* _UAPI_LINUX_VZ_H */

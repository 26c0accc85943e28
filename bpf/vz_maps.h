/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-or-later */
/*
 * Layout of the pinned BPF maps: shared by the programs in this directory and by libvz.
 *
 * Pinned below VZ_BPF_PIN_DIR, which carries the layout version: a change of any structure here raises
 * VZ_BPF_LAYOUT. Keys are cgroup ids (inode number of P/ct on cgroup v2). libvz writes vz_conf, the programs write
 * vz_state; the programs act on a task when any ancestor of its cgroup has an entry in vz_conf.
 */
#ifndef VZ_MAPS_H
#define VZ_MAPS_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define VZ_BPF_LAYOUT 1
#define VZ_BPF_PIN_DIR "/sys/fs/bpf/vz/1" /* maps: VZ_BPF_PIN_DIR/NAME, links: VZ_BPF_PIN_DIR/link_PROGRAM */
#define VZ_BPF_MAX_CTS 8192
#define VZ_UNLIMITED (~0ULL)

enum vz_conf_flags {
  VZ_CONF_NO_DELAY = 1, /* being checkpointed or restored: nobody pays */
};

/* Map "vz_conf", hash: written by libvz only. */
struct vz_conf {
  __u64 vswap_rate;   /* pages per second over swap-in and swap-out, 0: unlimited */
  __u64 privvm_limit; /* pages of private memory, VZ_UNLIMITED: none */
  __u64 boot_ns;      /* CLOCK_BOOTTIME of the container's start, for sysinfo(2) */
  __u32 ctid;
  __u32 flags;          /* enum vz_conf_flags */
  __u64 vswap_since_ns; /* when this rate was set, CLOCK_MONOTONIC: what was owed at the old one is forgiven */
};

/* Map "vz_state", hash: made by libvz with all zeroes before any task enters, then written by the programs only. */
struct vz_state {
  __u64 vswap_tat_ns;   /* token bucket (GCRA): CLOCK_MONOTONIC at which the next page would be in time */
  __u64 swapin_pages;   /* charged to this container */
  __u64 swapout_pages;  /* charged to this container */
  __u64 delayed_ns;     /* sum of the delays asked for */
  __u64 privvm_held;    /* pages */
  __u64 privvm_maxheld; /* pages */
  __u64 privvm_failcnt; /* mappings refused */
  __u64 vswap_since_ns; /* of the rate that vswap_tat_ns belongs to */
};

/* The resources, numbered and ordered as in /proc/user_beancounters; swappages, the last, is only in /proc/bc. */
enum vz_ub_resource {
  VZ_UB_KMEMSIZE,
  VZ_UB_LOCKEDPAGES,
  VZ_UB_PRIVVMPAGES,
  VZ_UB_SHMPAGES,
  VZ_UB_DUMMY4,
  VZ_UB_NUMPROC,
  VZ_UB_PHYSPAGES,
  VZ_UB_VMGUARPAGES,
  VZ_UB_OOMGUARPAGES,
  VZ_UB_NUMTCPSOCK,
  VZ_UB_NUMFLOCK,
  VZ_UB_NUMPTY,
  VZ_UB_NUMSIGINFO,
  VZ_UB_TCPSNDBUF,
  VZ_UB_TCPRCVBUF,
  VZ_UB_OTHERSOCKBUF,
  VZ_UB_DGRAMRCVBUF,
  VZ_UB_NUMOTHERSOCK,
  VZ_UB_DCACHESIZE,
  VZ_UB_NUMFILE,
  VZ_UB_DUMMY20,
  VZ_UB_DUMMY21,
  VZ_UB_DUMMY22,
  VZ_UB_NUMIPTENT,
  VZ_UB_SWAPPAGES,

  VZ_UB_RESOURCES,
};

#define VZ_UB_COMPAT_RESOURCES VZ_UB_SWAPPAGES /* rows of /proc/user_beancounters */
#define VZ_UB_UNLIMITED 0x7fffffffffffffffULL  /* as printed: LONG_MAX of a 64-bit kernel */

/* Map "vz_ub_conf", hash by cgroup id: written by libvz only. Units as in /proc: bytes, pages of 4 KiB, objects. */
struct vz_ub_conf {
  __u64 barrier[VZ_UB_RESOURCES];
  __u64 limit[VZ_UB_RESOURCES];
};

/*
 * Map "vz_ub", hash by cgroup id: made by libvz with all zeroes before any task enters, then written by the programs
 * only. Rows that no program counts stay zero; whoever reads adds them from control group files.
 */
struct vz_ub {
  __u64 held[VZ_UB_RESOURCES];
  __u64 maxheld[VZ_UB_RESOURCES];
  __u64 failcnt[VZ_UB_RESOURCES];
};

#endif /* VZ_MAPS_H */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where kernels 6.12 to 7.2 differ. Kbuild probes the headers; nothing else
 * in this directory asks for a version.
 */
#ifndef VZ_COMPAT_H
#define VZ_COMPAT_H

#include <linux/cgroup.h>
#include <linux/percpu.h>

/* CPU time of a cgroup per CPU, not yet added to its total. */
#ifdef VZ_HAVE_RSTAT_BASE_CPU
typedef struct cgroup_rstat_base_cpu vz_cpu_time;
#define vz_cpu_time_of(cgrp, cpu)	per_cpu_ptr((cgrp)->rstat_base_cpu, cpu)
#else
typedef struct cgroup_rstat_cpu vz_cpu_time;
#define vz_cpu_time_of(cgrp, cpu)	per_cpu_ptr((cgrp)->rstat_cpu, cpu)
#endif

#endif /* VZ_COMPAT_H */

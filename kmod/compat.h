/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where kernels 6.12 to 7.2 differ. Kbuild probes the headers; nothing else
 * in this directory asks for a version.
 */
#ifndef VZ_COMPAT_H
#define VZ_COMPAT_H

#include <linux/cgroup.h>
#include <linux/fs.h>
#include <linux/percpu.h>
#include <linux/slab.h>

#ifndef kmalloc_obj
#define kmalloc_obj(object, gfp)	kmalloc(sizeof(object), gfp)
#define kzalloc_obj(object, gfp)	kzalloc(sizeof(object), gfp)
#endif

/* CPU time of a cgroup per CPU, not yet added to its total. */
#ifdef VZ_HAVE_RSTAT_BASE_CPU
#define vz_rstat_cpu(cgrp, cpu)	per_cpu_ptr((cgrp)->rstat_base_cpu, cpu)
#else
#define vz_rstat_cpu(cgrp, cpu)	per_cpu_ptr((cgrp)->rstat_cpu, cpu)
#endif

/* Operations of all dentries of a file system. */
#ifdef VZ_HAVE_DEFAULT_D_OP
#define vz_set_d_op(sb, ops)	set_default_d_op(sb, ops)
#else
#define vz_set_d_op(sb, ops)	((sb)->s_d_op = (ops))
#endif

/* The directory of a kernfs node that nobody else sees. */
#ifdef VZ_HAVE_KERNFS_RCU_PARENT
#define vz_set_parent(kn, dir)	RCU_INIT_POINTER((kn)->__parent, dir)
#else
#define vz_set_parent(kn, dir)	((kn)->parent = (dir))
#endif

#endif /* VZ_COMPAT_H */

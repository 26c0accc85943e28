/* SPDX-License-Identifier: GPL-2.0-only */
/* Between vz-bpf and the programs alone; libvz needs none of it. */
#ifndef VZ_OBJECTS_H
#define VZ_OBJECTS_H

enum vz_object {
  VZ_OBJECT_VSWAP,
  VZ_OBJECT_SYSINFO,
  VZ_OBJECT_PRIVVM,
  VZ_OBJECT_UB,
  VZ_OBJECTS = 32, /* room for more: the map must not change its size */
};

/* Map "vz_active", array by enum vz_object. */
struct vz_generation {
  __u32 active;  /* programs of this generation act, others return at once */
  __u32 pending; /* generation of the links that are pinned as new_PROGRAM */
};

#endif /* VZ_OBJECTS_H */

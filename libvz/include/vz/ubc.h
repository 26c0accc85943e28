/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Beancounters for programs that are not written in C++. Stable: functions are only added, structures only grow at
 * their end, and every structure that is filled in comes with the size that the caller knows.
 *
 *   vz_ubc *ubc = NULL;
 *   size_t n = 0;
 *   if (vz_ubc_open(&ubc, NULL) != 0 || vz_ubc_read(ubc, &n) != 0)
 *     fprintf(stderr, "%s\n", vz_ubc_error(ubc));
 *   for (size_t i = 0; i < n; ++i) {
 *     struct vz_ubc_counter c;
 *     vz_ubc_get(ubc, i, vz_ubc_row("numfile"), &c, sizeof c);
 *     printf("%u: %llu files\n", vz_ubc_ctid(ubc, i), (unsigned long long)c.held);
 *   }
 *   vz_ubc_close(ubc);
 *
 * Not thread-safe: one handle per thread, and see Beancounters in vz/beancounters.h. Needs root.
 */
#ifndef VZ_UBC_H
#define VZ_UBC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VZ_UBC_UNKNOWN UINT64_MAX                     /* this host has no such number */
#define VZ_UBC_UNLIMITED UINT64_C(0x7fffffffffffffff) /* no barrier, no limit */

typedef struct vz_ubc vz_ubc;
typedef struct vz_ubc_events vz_ubc_events;

/* One row of a container. */
struct vz_ubc_counter {
  uint64_t held, maxheld, barrier, limit, failcnt;
};

/* One row of the table of resources, and what this host makes of it. Strings live as long as the library is loaded. */
struct vz_ubc_resource {
  const char* name; /* "numfile" */
  const char* key;  /* "NUMFILE"; NULL: a dummy row */
  const char* unit; /* "bytes", "pages" (of 4 KiB), "objects" */
  int32_t error;    /* errno of a refused call; 0: none */
  int32_t counted;  /* by a program at every change, else read when asked for */
  int32_t limited;  /* limits are enforced on this host */
};

enum vz_ubc_event_kind {
  VZ_UBC_REFUSED = 0,   /* failcnt rose by `delta` */
  VZ_UBC_THRESHOLD = 1, /* held reached `delta` percent of the barrier */
  VZ_UBC_OOM_KILL = 2,  /* `delta` processes were killed for want of memory */
  VZ_UBC_STARTED = 3,
  VZ_UBC_STOPPED = 4,
};

struct vz_ubc_event {
  uint32_t kind; /* enum vz_ubc_event_kind */
  uint32_t ctid;
  uint32_t row;
  uint32_t reserved;
  uint64_t delta;
  struct vz_ubc_counter counter; /* as it is now */
};

/* Directories of vz; NULL, or a NULL member: the installed default. */
struct vz_ubc_paths {
  const char* etc; /* "/etc/vz" */
  const char* run; /* "/run/vz" */
  const char* lib; /* "/var/lib/vz" */
};

/*
 * Functions that return int: 0, or an exit code of vzctl(8), and vz_ubc_error() tells more. *ubc is set even when
 * opening fails (NULL only when there is no memory), so that the error can be asked for; vz_ubc_close() frees it.
 */
int vz_ubc_open(vz_ubc** ubc, const struct vz_ubc_paths* paths);
void vz_ubc_close(vz_ubc* ubc);
const char* vz_ubc_error(const vz_ubc* ubc); /* of the last call that failed; "" if none did. Never NULL */

/* The table: rows are numbered from 0 to vz_ubc_rows() - 1, as in /proc/user_beancounters. */
size_t vz_ubc_rows(void);
int vz_ubc_row(const char* name); /* of a name or key; -1: there is none */
int vz_ubc_describe(vz_ubc* ubc, size_t row, struct vz_ubc_resource* out, size_t size);

/* Reads all rows of all running containers; their number comes back. Replaces what was read before. */
int vz_ubc_read(vz_ubc* ubc, size_t* containers);
/* What was read, by position below that number. vz_ubc_ctid() of another one is 0. */
uint32_t vz_ubc_ctid(const vz_ubc* ubc, size_t container);
int vz_ubc_get(vz_ubc* ubc, size_t container, size_t row, struct vz_ubc_counter* out, size_t size);

/* Events. `interval_ms`: how often counters are compared; 0: once a second. */
int vz_ubc_subscribe(vz_ubc* ubc, uint32_t interval_ms, vz_ubc_events** events);
/* Percent of the barrier (of the limit without one) whose reaching is an event, in subscriptions made from now on. */
int vz_ubc_threshold(vz_ubc* ubc, size_t row, uint32_t percent);
int vz_ubc_events_fd(const vz_ubc_events* events); /* poll for reading; stays the library's */
/* 1: *out is filled; 0: there is none now; negative: minus an exit code, and vz_ubc_error(ubc) tells more. Never waits.
 */
int vz_ubc_events_next(vz_ubc* ubc, vz_ubc_events* events, struct vz_ubc_event* out, size_t size);
void vz_ubc_events_close(vz_ubc_events* events);

#ifdef __cplusplus
}
#endif

#endif /* VZ_UBC_H */

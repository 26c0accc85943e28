/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs of bench/quota.py share. */
#ifndef QUOTA_C_H
#define QUOTA_C_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void must(int ok, const char* what) {
  if (ok) return;
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

/* Seconds. */
static inline double now(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

#endif /* QUOTA_C_H */

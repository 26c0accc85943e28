// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPU time of a container. The kernel adds up a cgroup's per-CPU times when
 * somebody reads cpu.stat, and a module cannot ask for that. So this takes the
 * sum of the last time, and all that has come since at any level below.
 */
#include <linux/cgroup.h>
#include <linux/math64.h>
#include <linux/u64_stats_sync.h>

#include "compat.h"
#include "internal.h"

/* As the kernel counts: ticks of user (with nice) and system mode, and exact run time. */
struct vz_cpu_sums {
	u64 user;
	u64 nice;
	u64 system;
	u64 run;
};

static void vz_sums_add(struct vz_cpu_sums *sums, const struct cgroup_base_stat *stat)
{
	sums->user += stat->cputime.utime;
	sums->nice += stat->ntime;
	sums->system += stat->cputime.stime;
	sums->run += stat->cputime.sum_exec_runtime;
}

static void vz_sums_sub(struct vz_cpu_sums *sums, const struct cgroup_base_stat *stat)
{
	sums->user -= stat->cputime.utime;
	sums->nice -= stat->ntime;
	sums->system -= stat->cputime.stime;
	sums->run -= stat->cputime.sum_exec_runtime;
}

/* What a cgroup used since it was last added up. */
static void vz_sums_add_new(struct vz_cpu_sums *sums, struct cgroup *cgrp)
{
	struct cgroup_base_stat stat;
	unsigned int seq;
	int cpu;

	for_each_possible_cpu(cpu) {
		do {
			seq = u64_stats_fetch_begin(&vz_rstat_cpu(cgrp, cpu)->bsync);
			stat = vz_rstat_cpu(cgrp, cpu)->bstat;
		} while (u64_stats_fetch_retry(&vz_rstat_cpu(cgrp, cpu)->bsync, seq));
		vz_sums_add(sums, &stat);
		vz_sums_sub(sums, &vz_rstat_cpu(cgrp, cpu)->last_bstat);
	}
}

static void vz_sums_of(struct cgroup *top, struct vz_cpu_sums *sums)
{
	struct cgroup_subsys_state *css;

	memset(sums, 0, sizeof(*sums));
	rcu_read_lock();
	vz_sums_add(sums, &top->bstat);
	css_for_each_descendant_pre(css, &top->self) {
		vz_sums_add_new(sums, css->cgroup);
		if (css->cgroup == top)
			continue;
		/* added up there, but not yet in the parent */
		vz_sums_add(sums, &css->cgroup->bstat);
		vz_sums_sub(sums, &css->cgroup->last_bstat);
	}
	rcu_read_unlock();
}

/* The exact run time, divided as the ticks are: what cpu.stat tells, too. */
static void vz_divide(const struct vz_cpu_sums *sums, struct vz_cpu_time *time)
{
	u64 ticks = sums->user + sums->system;
	u64 user;

	memset(time, 0, sizeof(*time));
	if ((s64)sums->run <= 0)
		return;
	user = ticks ? mul_u64_u64_div_u64(sums->run, sums->user, ticks) : sums->run;
	time->system_ns = sums->run - user;
	if (sums->user && sums->nice <= sums->user)
		time->nice_ns = mul_u64_u64_div_u64(user, sums->nice, sums->user);
	time->user_ns = user - time->nice_ns;
}

/*
 * A kind of time must not run back, though the kernel's adding up may be under
 * way and the division changes with every tick.
 */
static void vz_forward(u64 cgroup_id, struct vz_cpu_time *time)
{
	struct vz_ct *ct;

	rcu_read_lock();
	ct = vz_ct_lookup(cgroup_id);
	if (ct) {
		spin_lock(&ct->lock);
		ct->cpu_time.user_ns = max(ct->cpu_time.user_ns, time->user_ns);
		ct->cpu_time.nice_ns = max(ct->cpu_time.nice_ns, time->nice_ns);
		ct->cpu_time.system_ns = max(ct->cpu_time.system_ns, time->system_ns);
		*time = ct->cpu_time;
		spin_unlock(&ct->lock);
	}
	rcu_read_unlock();
}

/* The CPU time that the container of a view has used since its cgroup was made. */
void vz_cpu_time_of(const struct vz_view *view, struct vz_cpu_time *time)
{
	struct vz_cpu_sums sums;

	vz_sums_of(view->cgrp, &sums);
	vz_divide(&sums, time);
	vz_forward(view->info.cgroup_id, time);
}

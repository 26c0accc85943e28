// SPDX-License-Identifier: GPL-2.0-only
/*
 * The load of containers. The kernel keeps none per cgroup, so one work item
 * counts the tasks of all containers every five seconds, as the host's load is
 * sampled, and only while there are containers. It also forgets those whose
 * cgroup is gone.
 */
#include <linux/cgroup.h>
#include <linux/sched.h>
#include <linux/sched/loadavg.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "internal.h"

static void vz_load_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(vz_load_delayed, vz_load_work);

static void vz_load_begin(struct vz_ct *ct)
{
	memset(&ct->count, 0, sizeof(ct->count));
}

/* Blocked is what the host's load means by it: neither idle workers nor frozen tasks. */
static void vz_load_count(struct task_struct *task)
{
	unsigned int state = READ_ONCE(task->__state);
	struct vz_ct *ct = vz_ct_around(task_dfl_cgroup(task));

	if (!ct)
		return;
	ct->count.threads++;
	if (state == TASK_RUNNING)
		ct->count.running++;
	else if ((state & TASK_UNINTERRUPTIBLE) && !(state & (TASK_NOLOAD | TASK_FROZEN)))
		ct->count.blocked++;
}

static void vz_load_end(struct vz_ct *ct)
{
	static const unsigned long decay[] = { EXP_1, EXP_5, EXP_15 };
	unsigned long active = (ct->count.running + ct->count.blocked) * FIXED_1;
	unsigned int i;

	spin_lock(&ct->lock);
	for (i = 0; i < ARRAY_SIZE(decay); i++)
		ct->load.avg[i] = calc_load(ct->load.avg[i], decay[i], active);
	ct->load.running = ct->count.running;
	ct->load.blocked = ct->count.blocked;
	ct->load.threads = ct->count.threads;
	spin_unlock(&ct->lock);
}

static void vz_load_pass(void)
{
	struct task_struct *process, *task;

	vz_ct_for_each(vz_load_begin);
	rcu_read_lock();
	for_each_process_thread(process, task)
		vz_load_count(task);
	rcu_read_unlock();
	vz_ct_for_each(vz_load_end);
}

static void vz_load_work(struct work_struct *work)
{
	vz_ct_drop_dead();
	if (!vz_ct_count())
		return;
	vz_load_pass();
	vz_load_start();
}

/* A container was added, or the next sample is due. */
void vz_load_start(void)
{
	queue_delayed_work(system_power_efficient_wq, &vz_load_delayed, LOAD_FREQ);
}

int vz_load_init(void)
{
	return 0;
}

void vz_load_exit(void)
{
	cancel_delayed_work_sync(&vz_load_delayed);
}

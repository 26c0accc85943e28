// SPDX-License-Identifier: GPL-2.0-only
/*
 * vz_delay_current(): a BPF program decides that a task has to pay for a page
 * and until when, the task sleeps when it next returns to user mode. There it
 * holds no lock of the kernel, so nobody else waits with it.
 *
 * Deadlines are absolute and come from a bucket that all threads of a
 * container share: the latest deadline of a task contains all that it owes,
 * and having slept too long is not lost.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/hash.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/psi.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/timekeeping.h>

#include "compat.h"
#include "internal.h"

/*
 * A task never sleeps longer than this per return to user mode: a mistake in
 * a program must end. At 25 600 pages per second it is 3 GiB, and so more than
 * what one read(2) can bring in.
 */
#define VZ_DELAY_MAX_NS		(30ULL * NSEC_PER_SEC)

/* Not worth a sleep: the bucket keeps the debt for the next page. */
#define VZ_DELAY_MIN_NS		(50 * NSEC_PER_USEC)

#define VZ_DEBT_HASH_BITS	8

/* What a task owes. Made and removed by the task itself, seen by others. */
struct vz_debt {
	struct callback_head work;
	struct hlist_node node;
	struct task_struct *task;
	u64 cgroup_id;			/* of its container, 0: none registered */
	u64 deadline_ns;
	bool forgiven;
};

struct vz_debt_bucket {
	raw_spinlock_t lock;
	struct hlist_head debts;
};

static struct vz_debt_bucket vz_debts[1 << VZ_DEBT_HASH_BITS];
static atomic_t vz_nr_debts = ATOMIC_INIT(0);

static struct vz_debt_bucket *vz_debt_bucket(struct task_struct *task)
{
	return &vz_debts[hash_ptr(task, VZ_DEBT_HASH_BITS)];
}

static void vz_debt_insert(struct vz_debt *debt)
{
	struct vz_debt_bucket *bucket = vz_debt_bucket(debt->task);
	unsigned long flags;

	atomic_inc(&vz_nr_debts);
	raw_spin_lock_irqsave(&bucket->lock, flags);
	hlist_add_head(&debt->node, &bucket->debts);
	raw_spin_unlock_irqrestore(&bucket->lock, flags);
}

static void vz_debt_remove(struct vz_debt *debt)
{
	struct vz_debt_bucket *bucket = vz_debt_bucket(debt->task);
	unsigned long flags;

	raw_spin_lock_irqsave(&bucket->lock, flags);
	hlist_del(&debt->node);
	raw_spin_unlock_irqrestore(&bucket->lock, flags);
	kfree(debt);
	atomic_dec(&vz_nr_debts);
}

/* True if current owes already; it owes until the later deadline then. */
static bool vz_debt_raise(u64 deadline_ns)
{
	struct vz_debt_bucket *bucket = vz_debt_bucket(current);
	struct vz_debt *debt;
	unsigned long flags;
	bool found = false;

	raw_spin_lock_irqsave(&bucket->lock, flags);
	hlist_for_each_entry(debt, &bucket->debts, node) {
		if (debt->task != current)
			continue;
		if (debt->deadline_ns < deadline_ns)
			debt->deadline_ns = deadline_ns;
		found = true;
		break;
	}
	raw_spin_unlock_irqrestore(&bucket->lock, flags);
	return found;
}

static void vz_debt_sleep(struct vz_debt *debt)
{
	u64 now = ktime_get_ns();
	u64 deadline_ns = min(debt->deadline_ns, now + VZ_DELAY_MAX_NS);
	ktime_t expires = ns_to_ktime(deadline_ns);
	unsigned long pflags;

	if (deadline_ns <= now)
		return;
	psi_memstall_enter(&pflags);
	for (;;) {
		set_current_state(TASK_KILLABLE | TASK_FREEZABLE);
		if (READ_ONCE(debt->forgiven) || fatal_signal_pending(current))
			break;
		if (!schedule_hrtimeout(&expires, HRTIMER_MODE_ABS))
			break;
	}
	__set_current_state(TASK_RUNNING);
	psi_memstall_leave(&pflags);
}

/*
 * Runs on the way to user mode, or when the task exits. The last thing it does
 * with this module is to return from it: vz_delay_exit() waits for that.
 */
static void vz_debt_pay(struct callback_head *work)
{
	struct vz_debt *debt = container_of(work, struct vz_debt, work);

	if (!(current->flags & PF_EXITING))
		vz_debt_sleep(debt);
	vz_debt_remove(debt);
	module_put(THIS_MODULE);
}

/* User mode is where a debt is paid; workers of io_uring and vhost never go there. */
static bool vz_may_sleep_later(struct task_struct *task)
{
	return in_task() && !irqs_disabled() && task->mm &&
	       !(task->flags & (PF_KTHREAD | PF_USER_WORKER | PF_EXITING));
}

/*
 * This may run within reclaim: no reserves are touched and nothing waits. What
 * cannot be noted here is not lost, the bucket asks for it with the next page.
 */
static int vz_debt_make(u64 deadline_ns)
{
	struct vz_debt *debt;
	u64 cgroup_id;

	if (!vz_ct_delays(current, &cgroup_id))
		return 0;
	if (!try_module_get(THIS_MODULE))
		return -ESHUTDOWN;
	debt = kmalloc_obj(*debt, GFP_NOWAIT | __GFP_NOWARN | __GFP_NOMEMALLOC);
	if (!debt) {
		module_put(THIS_MODULE);
		return -ENOMEM;
	}
	debt->task = current;
	debt->cgroup_id = cgroup_id;
	debt->deadline_ns = deadline_ns;
	debt->forgiven = false;
	init_task_work(&debt->work, vz_debt_pay);
	vz_debt_insert(debt);
	if (task_work_add(current, &debt->work, TWA_RESUME)) {
		vz_debt_remove(debt);
		module_put(THIS_MODULE);
		return -ESRCH;
	}
	return 0;
}

__bpf_kfunc_start_defs();

/**
 * vz_delay_current() - let the current task sleep when it returns to user mode
 * @deadline_ns: until when at least, in CLOCK_MONOTONIC
 *
 * Many calls before a return make one sleep until the latest deadline, thirty
 * seconds at most. SIGKILL ends it. PSI counts it as a memory stall.
 *
 * Return: 0; -EPERM for a task or a context that never returns to user mode,
 * -ENOMEM or another error if the debt could not be noted.
 */
__bpf_kfunc int vz_delay_current(u64 deadline_ns)
{
	if (!vz_may_sleep_later(current))
		return -EPERM;
	if (fatal_signal_pending(current))
		return 0;
	if (deadline_ns < ktime_get_ns() + VZ_DELAY_MIN_NS)
		return 0;
	if (vz_debt_raise(deadline_ns))
		return 0;
	return vz_debt_make(deadline_ns);
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(vz_kfuncs)
BTF_ID_FLAGS(func, vz_delay_current)
BTF_KFUNCS_END(vz_kfuncs)

static const struct btf_kfunc_id_set vz_kfunc_set = {
	.owner = THIS_MODULE,
	.set = &vz_kfuncs,
};

/**
 * vz_delay_forgive() - wake the tasks that sleep for a container
 * @cgroup_id: the container, 0 for all tasks
 */
void vz_delay_forgive(u64 cgroup_id)
{
	struct vz_debt_bucket *bucket;
	struct vz_debt *debt;
	unsigned long flags;

	for (bucket = vz_debts; bucket < vz_debts + ARRAY_SIZE(vz_debts); bucket++) {
		raw_spin_lock_irqsave(&bucket->lock, flags);
		hlist_for_each_entry(debt, &bucket->debts, node) {
			if (cgroup_id && debt->cgroup_id != cgroup_id)
				continue;
			WRITE_ONCE(debt->forgiven, true);
			wake_up_process(debt->task);
		}
		raw_spin_unlock_irqrestore(&bucket->lock, flags);
	}
}

/* Tasks with a delay pending or sleeping. */
unsigned int vz_delay_count(void)
{
	return atomic_read(&vz_nr_debts);
}

int vz_delay_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vz_debts); i++)
		raw_spin_lock_init(&vz_debts[i].lock);
	/* The hook of tracing programs is that of LSM programs, too. */
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_TRACING, &vz_kfunc_set);
}

/*
 * Nobody calls the kfunc any more and each debt held the module, so all are
 * paid. The last payers may still have to return from vz_debt_pay(), and a
 * preempted one counts as having returned when it next sleeps or is in user
 * mode: that is what RCU tasks waits for.
 */
void vz_delay_exit(void)
{
	WARN_ON_ONCE(atomic_read(&vz_nr_debts));
	synchronize_rcu_tasks();
}

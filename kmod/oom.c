// SPDX-License-Identifier: GPL-2.0-only
/*
 * OOM kills of containers' tasks: an event and a line in the log. The probe
 * runs in the middle of the OOM killer, which holds locks and has no memory;
 * it only notes what it sees, the work item tells it.
 */
#include <linux/cgroup.h>
#include <linux/jiffies.h>
#include <linux/llist.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>
#include <trace/events/oom.h>

#include "compat.h"
#include "internal.h"

static struct tracepoint *vz_mark_victim;
static LLIST_HEAD(vz_oom_events);

static void vz_oom_tell(struct work_struct *work);
static DECLARE_WORK(vz_oom_work, vz_oom_tell);

/*
 * Its own limit, or one inside? The counter covers the container and all
 * below it, and not the groups above nor the host.
 */
static u32 vz_oom_kind(struct vz_ct *ct, struct mem_cgroup *memcg)
{
	unsigned long ooms = atomic_long_read(&memcg->memory_events[MEMCG_OOM]);
	u32 kind = VZ_EVENT_HOST_OOM_KILL;

	spin_lock(&ct->lock);
	if (ooms != ct->ooms)
		ct->oom_jiffies = jiffies;
	if (ooms != ct->ooms ||
	    (ooms && time_before(jiffies, ct->oom_jiffies + VZ_OOM_GROUP_JIFFIES)))
		kind = VZ_EVENT_OOM_KILL;
	ct->ooms = ooms;
	spin_unlock(&ct->lock);
	return kind;
}

static void vz_oom_note_victim(struct vz_oom_event *event, struct task_struct *victim, uid_t uid)
{
	struct mm_struct *mm = victim->mm;	/* the OOM killer holds the task's lock */

	event->pid = task_tgid_nr(victim);
	event->uid = uid;
	strscpy(event->comm, victim->comm, sizeof(event->comm));
	if (!mm)
		return;
	event->rss_anon = (u64)get_mm_counter(mm, MM_ANONPAGES) << PAGE_SHIFT;
	event->rss_file = (u64)get_mm_counter(mm, MM_FILEPAGES) << PAGE_SHIFT;
	event->rss_shmem = (u64)get_mm_counter(mm, MM_SHMEMPAGES) << PAGE_SHIFT;
	event->swap_ents = (u64)get_mm_counter(mm, MM_SWAPENTS) << PAGE_SHIFT;
}

/* The memcg that carries the container's limits, found as its own is: by id. */
static struct mem_cgroup *vz_oom_memcg(struct task_struct *victim, u64 id)
{
	struct mem_cgroup *memcg = mem_cgroup_from_task(victim);

	while (memcg && cgroup_id(memcg->css.cgroup) != id)
		memcg = parent_mem_cgroup(memcg);
	return memcg;
}

static void vz_oom_probe(void *data, struct task_struct *victim, uid_t uid)
{
	struct vz_oom_event *event;
	struct mem_cgroup *memcg;
	struct vz_ct *ct;

	rcu_read_lock();
	ct = vz_ct_around(task_dfl_cgroup(victim));
	memcg = ct ? vz_oom_memcg(victim, ct->info.cgroup_id) : NULL;
	event = memcg ? kzalloc_obj(*event, GFP_ATOMIC | __GFP_NOWARN) : NULL;
	if (event) {
		event->event = vz_oom_kind(ct, memcg);
		vz_memory_of(memcg, &event->memory);
		spin_lock(&ct->lock);
		event->ct = ct->info;
		spin_unlock(&ct->lock);
		vz_oom_note_victim(event, victim, uid);
		llist_add(&event->node, &vz_oom_events);
		schedule_work(&vz_oom_work);
	}
	rcu_read_unlock();
}

static void vz_oom_put_limit(char *text, size_t size, unsigned long pages)
{
	if (pages == VZ_NO_LIMIT)
		strscpy(text, "none", size);
	else
		snprintf(text, size, "%lukB", pages * (PAGE_SIZE / SZ_1K));
}

/* A victim's name is the container's choice, the log's reader must not suffer from it. */
static void vz_oom_log(const struct vz_oom_event *event)
{
	const struct vz_memory *memory = &event->memory;
	char ram[24], swap[24], comm[TASK_COMM_LEN];
	size_t i;

	strscpy(comm, event->comm, sizeof(comm));
	for (i = 0; comm[i]; i++) {
		if (comm[i] < ' ' || comm[i] > '~')
			comm[i] = '?';
	}
	vz_oom_put_limit(ram, sizeof(ram), memory->ram_limit);
	vz_oom_put_limit(swap, sizeof(swap), memory->swap_limit);
	pr_info("CT %u: out of memory%s: killed process %u (%s), uid %u, anon %llukB, file %llukB, shmem %llukB, swap %llukB; container's ram %lukB of %s, swap %lukB of %s\n",
		event->ct.ctid, event->event == VZ_EVENT_OOM_KILL ? "" : " of the host",
		event->pid, comm, event->uid, event->rss_anon >> 10, event->rss_file >> 10,
		event->rss_shmem >> 10, event->swap_ents >> 10,
		memory->ram_usage * (PAGE_SIZE / SZ_1K), ram,
		memory->swap_usage * (PAGE_SIZE / SZ_1K), swap);
}

static void vz_oom_tell(struct work_struct *work)
{
	static DEFINE_RATELIMIT_STATE(limit, 5 * HZ, 10);
	struct vz_oom_event *event, *next;
	struct llist_node *events = llist_reverse_order(llist_del_all(&vz_oom_events));

	llist_for_each_entry_safe(event, next, events, node) {
		vz_netlink_oom(event);
		if (__ratelimit(&limit))
			vz_oom_log(event);
		kfree(event);
	}
}

static void vz_oom_find(struct tracepoint *tp, void *data)
{
	if (!strcmp(tp->name, "mark_victim"))
		vz_mark_victim = tp;
}

int vz_oom_init(void)
{
	for_each_kernel_tracepoint(vz_oom_find, NULL);
	if (!vz_mark_victim) {
		pr_warn("this kernel has no tracepoint mark_victim: no OOM events\n");
		return 0;
	}
	check_trace_callback_type_mark_victim(vz_oom_probe);
	return tracepoint_probe_register(vz_mark_victim, vz_oom_probe, NULL);
}

void vz_oom_exit(void)
{
	if (vz_mark_victim) {
		tracepoint_probe_unregister(vz_mark_victim, vz_oom_probe, NULL);
		tracepoint_synchronize_unregister();
	}
	flush_work(&vz_oom_work);
}

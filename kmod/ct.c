// SPDX-License-Identifier: GPL-2.0-only
/*
 * The containers: a hash by the id of the cgroup that carries a container's
 * limits. No reference to the cgroup is held, so a container that died
 * without CT_DEL goes away as any cgroup does; its entry follows, see load.c.
 */
#include <linux/cgroup.h>
#include <linux/hashtable.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>

#include "compat.h"
#include "internal.h"

#define VZ_CT_HASH_BITS	10

static DEFINE_HASHTABLE(vz_cts, VZ_CT_HASH_BITS);
static DEFINE_MUTEX(vz_ct_mutex);	/* adding and removing */
static unsigned int vz_nr_cts;
static unsigned int vz_generation;

/* Under RCU or the mutex. */
struct vz_ct *vz_ct_lookup(u64 cgroup_id)
{
	struct vz_ct *ct;

	hash_for_each_possible_rcu(vz_cts, ct, node, cgroup_id,
				   lockdep_is_held(&vz_ct_mutex)) {
		if (ct->info.cgroup_id == cgroup_id)
			return ct;
	}
	return NULL;
}

/* The innermost container around a cgroup, under RCU. */
struct vz_ct *vz_ct_around(struct cgroup *cgrp)
{
	struct vz_ct *ct;

	if (!READ_ONCE(vz_nr_cts))
		return NULL;
	for (; cgrp; cgrp = cgroup_parent(cgrp)) {
		ct = vz_ct_lookup(cgroup_id(cgrp));
		if (ct)
			return ct;
	}
	return NULL;
}

/**
 * vz_ct_delays() - whether a task is to be delayed
 * @task: current, or a task that cannot go away
 * @cgroup_id: set to its container's, 0 for a task of the host
 *
 * Return: false if its container is not to be delayed now.
 */
bool vz_ct_delays(struct task_struct *task, u64 *cgroup_id)
{
	struct vz_ct *ct;
	bool delays;

	rcu_read_lock();
	ct = vz_ct_around(task_dfl_cgroup(task));
	*cgroup_id = ct ? ct->info.cgroup_id : 0;
	delays = !ct || !(READ_ONCE(ct->info.flags) & VZ_CT_NO_DELAY);
	rcu_read_unlock();
	return delays;
}

static void vz_ct_copy_info(struct vz_ct *ct, struct vz_ct_info *info)
{
	spin_lock(&ct->lock);
	*info = ct->info;
	spin_unlock(&ct->lock);
}

static bool vz_cgroup_exists(u64 cgroup_id)
{
	struct cgroup *cgrp = cgroup_get_from_id(cgroup_id);

	if (IS_ERR(cgrp))
		return false;
	cgroup_put(cgrp);
	return true;
}

static struct vz_ct *vz_ct_new(const struct vz_ct_info *info)
{
	struct cgroup *cgrp = cgroup_get_from_id(info->cgroup_id);
	struct vz_ct *ct;

	if (IS_ERR(cgrp))
		return ERR_PTR(-ENOENT);
	ct = kzalloc_obj(*ct, GFP_KERNEL);
	if (ct) {
		spin_lock_init(&ct->lock);
		ct->info = *info;
		if (!ct->info.boot_ns)
			ct->info.boot_ns = ktime_get_boottime_ns();
		ct->ooms = vz_memcg_ooms(cgrp);
		ct->oom_jiffies = jiffies - VZ_OOM_GROUP_JIFFIES;
	}
	cgroup_put(cgrp);
	return ct ?: ERR_PTR(-ENOMEM);
}

/**
 * vz_ct_add() - make a container known
 * @info: its properties; boot_ns 0 stands for now
 * @addrs: its addresses or NULL; kept if this succeeds
 *
 * Return: 0, -EEXIST for a cgroup that is known, -ENOENT for none.
 */
int vz_ct_add(const struct vz_ct_info *info, struct vz_addrs *addrs)
{
	struct vz_ct *ct = vz_ct_new(info);

	if (IS_ERR(ct))
		return PTR_ERR(ct);
	RCU_INIT_POINTER(ct->addrs, addrs);
	mutex_lock(&vz_ct_mutex);
	if (vz_ct_lookup(info->cgroup_id)) {
		mutex_unlock(&vz_ct_mutex);
		kfree(ct);
		return -EEXIST;
	}
	hash_add_rcu(vz_cts, &ct->node, info->cgroup_id);
	WRITE_ONCE(vz_nr_cts, vz_nr_cts + 1);
	WRITE_ONCE(vz_generation, vz_generation + 1);
	mutex_unlock(&vz_ct_mutex);
	vz_load_start();
	return 0;
}

/**
 * vz_ct_set() - change what is said about a container
 * @info: its cgroup_id and the new values
 * @fields: which members of @info are valid, and whether @addrs is
 * @addrs: its addresses or NULL; kept if this succeeds
 *
 * Return: 0 or -ENOENT.
 */
int vz_ct_set(const struct vz_ct_info *info, unsigned int fields, struct vz_addrs *addrs)
{
	struct vz_addrs *old = NULL;
	struct vz_ct *ct;

	rcu_read_lock();
	ct = vz_ct_lookup(info->cgroup_id);
	if (!ct) {
		rcu_read_unlock();
		return -ENOENT;
	}
	spin_lock(&ct->lock);
	if (fields & VZ_CT_BOOT_NS)
		ct->info.boot_ns = info->boot_ns ?: ktime_get_boottime_ns();
	if (fields & VZ_CT_CTID)
		WRITE_ONCE(ct->info.ctid, info->ctid);
	if (fields & VZ_CT_CPUS)
		ct->info.cpus = info->cpus;
	if (fields & VZ_CT_FLAGS)
		WRITE_ONCE(ct->info.flags, info->flags);
	if (fields & VZ_CT_NAME)
		strscpy(ct->info.name, info->name, sizeof(ct->info.name));
	if (fields & VZ_CT_ADDRS)
		old = rcu_replace_pointer(ct->addrs, addrs, lockdep_is_held(&ct->lock));
	spin_unlock(&ct->lock);
	rcu_read_unlock();
	if (old)
		kfree_rcu(old, rcu);
	if (fields & VZ_CT_FLAGS && info->flags & VZ_CT_NO_DELAY)
		vz_delay_forgive(info->cgroup_id);
	return 0;
}

/* Nobody can find it any more, so nobody changes its addresses. */
static void vz_ct_free(struct rcu_head *rcu)
{
	struct vz_ct *ct = container_of(rcu, struct vz_ct, rcu);

	kfree(rcu_dereference_protected(ct->addrs, true));
	kfree(ct);
}

static void vz_ct_remove(struct vz_ct *ct)
{
	lockdep_assert_held(&vz_ct_mutex);
	hash_del_rcu(&ct->node);
	WRITE_ONCE(vz_nr_cts, vz_nr_cts - 1);
	WRITE_ONCE(vz_generation, vz_generation + 1);
	call_rcu(&ct->rcu, vz_ct_free);
}

/**
 * vz_ct_del() - forget a container and let its delayed tasks go
 * @cgroup_id: the id of its cgroup, which may be gone
 *
 * Return: 0 or -ENOENT.
 */
int vz_ct_del(u64 cgroup_id)
{
	struct vz_ct *ct;

	mutex_lock(&vz_ct_mutex);
	ct = vz_ct_lookup(cgroup_id);
	if (ct)
		vz_ct_remove(ct);
	mutex_unlock(&vz_ct_mutex);
	if (!ct)
		return -ENOENT;
	vz_delay_forgive(cgroup_id);
	return 0;
}

/**
 * vz_ct_get() - what is known about a container
 * @cgroup_id: the id of its cgroup
 * @info: filled in
 *
 * Return: 0 or -ENOENT.
 */
int vz_ct_get(u64 cgroup_id, struct vz_ct_info *info)
{
	struct vz_ct *ct;

	rcu_read_lock();
	ct = vz_ct_lookup(cgroup_id);
	if (ct)
		vz_ct_copy_info(ct, info);
	rcu_read_unlock();
	return ct ? 0 : -ENOENT;
}

/**
 * vz_ct_next() - go through all containers without holding a lock in between
 * @position: all zeroes at first; it moves behind the container that is told
 * @info: filled in
 *
 * One that is added or removed meanwhile may be missed or make its neighbour
 * come twice; vz_ct_generation() tells.
 *
 * Return: false at the end.
 */
bool vz_ct_next(struct vz_ct_position *position, struct vz_ct_info *info)
{
	struct vz_ct *ct;
	unsigned int n;

	rcu_read_lock();
	for (; position->bucket < HASH_SIZE(vz_cts); position->bucket++) {
		n = 0;
		hlist_for_each_entry_rcu(ct, &vz_cts[position->bucket], node) {
			if (n++ < position->skip)
				continue;
			vz_ct_copy_info(ct, info);
			position->skip = n;
			rcu_read_unlock();
			return true;
		}
		position->skip = 0;
	}
	rcu_read_unlock();
	return false;
}

/* Calls visit for each container, under RCU. */
void vz_ct_for_each(void (*visit)(struct vz_ct *ct))
{
	struct vz_ct *ct;
	int bucket;

	rcu_read_lock();
	hash_for_each_rcu(vz_cts, bucket, ct, node)
		visit(ct);
	rcu_read_unlock();
}

/* Forgets the containers whose cgroup is gone. */
void vz_ct_drop_dead(void)
{
	struct vz_ct_position position = {};
	struct vz_ct_info info;

	while (vz_ct_next(&position, &info)) {
		if (!vz_cgroup_exists(info.cgroup_id) && !vz_ct_del(info.cgroup_id))
			position.skip--;
		cond_resched();
	}
}

/* Under RCU; false if the cgroup is on its way out. */
static bool vz_view_fill(struct vz_ct *ct, struct cgroup *cgrp, struct vz_view *view)
{
	if (!cgroup_tryget(cgrp))
		return false;
	view->cgrp = cgrp;
	view->nested = vz_ct_around(cgroup_parent(cgrp));
	spin_lock(&ct->lock);
	view->info = ct->info;
	view->load = ct->load;
	spin_unlock(&ct->lock);
	return true;
}

/**
 * vz_view_get() - the container that current is in
 * @view: filled in, until vz_view_put()
 *
 * Return: false for a task of the host.
 */
bool vz_view_get(struct vz_view *view)
{
	struct cgroup *cgrp;
	struct vz_ct *ct;
	bool found = false;

	rcu_read_lock();
	for (cgrp = task_dfl_cgroup(current); cgrp; cgrp = cgroup_parent(cgrp)) {
		ct = vz_ct_lookup(cgroup_id(cgrp));
		if (ct) {
			found = vz_view_fill(ct, cgrp, view);
			break;
		}
	}
	rcu_read_unlock();
	return found;
}

/*
 * By id, which finds only what the reader's cgroup namespace has; a reader in a
 * container has its own namespace, and the container's group is above that.
 */
static struct cgroup *vz_cgroup_get(u64 id)
{
	struct cgroup *cgrp;

	rcu_read_lock();
	for (cgrp = task_dfl_cgroup(current); cgrp; cgrp = cgroup_parent(cgrp)) {
		if (cgroup_id(cgrp) == id && cgroup_tryget(cgrp))
			break;
	}
	rcu_read_unlock();
	return cgrp ?: cgroup_get_from_id(id);
}

/**
 * vz_view_find() - a container by its cgroup
 * @cgroup_id: the id of the cgroup
 * @view: filled in, until vz_view_put()
 *
 * Return: false if it is not registered or its cgroup is gone.
 */
bool vz_view_find(u64 cgroup_id, struct vz_view *view)
{
	struct cgroup *cgrp = vz_cgroup_get(cgroup_id);
	struct vz_ct *ct;
	bool found;

	if (IS_ERR(cgrp))
		return false;
	rcu_read_lock();
	ct = vz_ct_lookup(cgroup_id);
	found = ct && vz_view_fill(ct, cgrp, view);
	rcu_read_unlock();
	cgroup_put(cgrp);
	return found;
}

/* The same by its number. Of two with one number it may be either. */
bool vz_view_find_ctid(u32 ctid, struct vz_view *view)
{
	u64 cgroup_id = 0;
	struct vz_ct *ct;
	int bucket;

	rcu_read_lock();
	hash_for_each_rcu(vz_cts, bucket, ct, node) {
		if (READ_ONCE(ct->info.ctid) == ctid)
			cgroup_id = ct->info.cgroup_id;
	}
	rcu_read_unlock();
	return cgroup_id && vz_view_find(cgroup_id, view);
}

/* The cgroup id of the container that current is in, 0 for a task of the host. */
u64 vz_ct_of_reader(void)
{
	struct vz_ct *ct;
	u64 cgroup_id;

	rcu_read_lock();
	ct = vz_ct_around(task_dfl_cgroup(current));
	cgroup_id = ct ? ct->info.cgroup_id : 0;
	rcu_read_unlock();
	return cgroup_id;
}

void vz_view_put(struct vz_view *view)
{
	cgroup_put(view->cgrp);
}

unsigned int vz_ct_count(void)
{
	return READ_ONCE(vz_nr_cts);
}

/* Changes with every container added or removed. */
unsigned int vz_ct_generation(void)
{
	return READ_ONCE(vz_generation);
}

int vz_ct_init(void)
{
	return 0;
}

void vz_ct_exit(void)
{
	struct hlist_node *next;
	struct vz_ct *ct;
	int bucket;

	mutex_lock(&vz_ct_mutex);
	hash_for_each_safe(vz_cts, bucket, next, ct, node)
		vz_ct_remove(ct);
	mutex_unlock(&vz_ct_mutex);
	rcu_barrier();
}

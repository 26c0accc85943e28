// SPDX-License-Identifier: GPL-2.0-only
/* VZ_A_ADDRS: the addresses of a container. */
#include <linux/slab.h>
#include <net/genetlink.h>

#include "internal.h"

static bool vz_get_addr(const struct nlattr *attr, struct vz_addr *addr)
{
	addr->type = nla_type(attr);
	if (addr->type == VZ_ADDR_IPV4 && nla_len(attr) == sizeof(addr->ipv4))
		nla_memcpy(&addr->ipv4, attr, sizeof(addr->ipv4));
	else if (addr->type == VZ_ADDR_IPV6 && nla_len(attr) == sizeof(addr->ipv6))
		nla_memcpy(&addr->ipv6, attr, sizeof(addr->ipv6));
	else
		return false;
	return true;
}

/**
 * vz_get_addrs() - the addresses that a message has
 * @info: the message
 * @fields: VZ_CT_ADDRS is added if it has a list
 *
 * Return: a new list; NULL for an empty one, or for none; or an error.
 */
struct vz_addrs *vz_get_addrs(struct genl_info *info, unsigned int *fields)
{
	const struct nlattr *list = info->attrs[VZ_A_ADDRS], *attr;
	struct vz_addrs *addrs;
	unsigned int count = 0;
	int rest;

	if (!list)
		return NULL;
	nla_for_each_nested(attr, list, rest)
		count++;
	if (rest || count > VZ_ADDRS_MAX) {
		NL_SET_ERR_MSG_ATTR(info->extack, list, "too many addresses, or a cut list");
		return ERR_PTR(-EINVAL);
	}
	*fields |= VZ_CT_ADDRS;
	if (!count)
		return NULL;
	addrs = kzalloc(struct_size(addrs, addr, count), GFP_KERNEL);
	if (!addrs)
		return ERR_PTR(-ENOMEM);
	nla_for_each_nested(attr, list, rest) {
		if (!vz_get_addr(attr, &addrs->addr[addrs->count++])) {
			NL_SET_ERR_MSG_ATTR(info->extack, attr, "neither IPv4 nor IPv6");
			kfree(addrs);
			return ERR_PTR(-EINVAL);
		}
	}
	return addrs;
}

static int vz_put_addr_list(struct sk_buff *skb, const struct vz_addrs *addrs)
{
	struct nlattr *list = nla_nest_start(skb, VZ_A_ADDRS);
	unsigned int n;
	int ret = list ? 0 : -EMSGSIZE;

	for (n = 0; n < addrs->count && !ret; n++) {
		const struct vz_addr *addr = &addrs->addr[n];

		if (addr->type == VZ_ADDR_IPV4)
			ret = nla_put(skb, addr->type, sizeof(addr->ipv4), &addr->ipv4);
		else
			ret = nla_put(skb, addr->type, sizeof(addr->ipv6), &addr->ipv6);
	}
	if (!ret)
		nla_nest_end(skb, list);
	return ret;
}

/* Appends the addresses of a container, if it has any. */
int vz_put_addrs_of(struct sk_buff *skb, u64 cgroup_id)
{
	const struct vz_addrs *addrs;
	const struct vz_ct *ct;
	int ret;

	rcu_read_lock();
	ct = vz_ct_lookup(cgroup_id);
	addrs = ct ? rcu_dereference(ct->addrs) : NULL;
	ret = addrs ? vz_put_addr_list(skb, addrs) : 0;
	rcu_read_unlock();
	return ret;
}

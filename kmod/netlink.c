// SPDX-License-Identifier: GPL-2.0-only
/* The generic netlink family of include/uapi/linux/vz.h. */
#include <linux/capability.h>
#include <linux/ctype.h>
#include <linux/netlink.h>
#include <linux/timekeeping.h>
#include <net/genetlink.h>

#include "internal.h"

static struct genl_family vz_genl;

static const struct netlink_range_validation vz_ctid_range = {
	.min = 1,
	.max = S32_MAX,
};

/* What a command does not know it refuses: parsing is strict. */
static const struct nla_policy vz_policy_none[VZ_A_MAX + 1] = {};

static const struct nla_policy vz_policy_id[VZ_A_MAX + 1] = {
	[VZ_A_CGROUP_ID] = { .type = NLA_U64 },
};

static const struct nla_policy vz_policy_ct[VZ_A_MAX + 1] = {
	[VZ_A_CGROUP_ID] = { .type = NLA_U64 },
	[VZ_A_CTID] = NLA_POLICY_FULL_RANGE(NLA_U32, &vz_ctid_range),
	[VZ_A_NAME] = { .type = NLA_NUL_STRING, .len = VZ_NAME_MAX },
	[VZ_A_CPUS] = { .type = NLA_U32 },
	[VZ_A_BOOT_NS] = { .type = NLA_U64 },
	[VZ_A_FLAGS] = NLA_POLICY_MASK(NLA_U32, VZ_CT_FLAGS_MASK),
	[VZ_A_ADDRS] = { .type = NLA_NESTED },
};

static const struct nla_policy vz_policy_ub[VZ_A_MAX + 1] = {
	[VZ_A_UB_FD] = { .type = NLA_U32 },
	[VZ_A_UB_CONF_FD] = { .type = NLA_U32 },
	[VZ_A_UB_REFRESH_FD] = { .type = NLA_U32 },
};

/*
 * The family exists in the initial network namespace only. The sender and the
 * opener of the socket both need the capability in the initial user namespace.
 */
static int vz_may(struct sk_buff *skb, struct netlink_ext_ack *extack)
{
	if (netlink_capable(skb, CAP_SYS_ADMIN))
		return 0;
	NL_SET_ERR_MSG(extack, "CAP_SYS_ADMIN in the initial user namespace is needed");
	return -EPERM;
}

static int vz_pre_doit(const struct genl_split_ops *ops, struct sk_buff *skb,
		       struct genl_info *info)
{
	return vz_may(skb, info->extack);
}

static int vz_get_id(struct genl_info *info, u64 *id)
{
	if (GENL_REQ_ATTR_CHECK(info, VZ_A_CGROUP_ID)) {
		NL_SET_ERR_MSG(info->extack, "the container's cgroup id is missing");
		return -EINVAL;
	}
	*id = nla_get_u64(info->attrs[VZ_A_CGROUP_ID]);
	return 0;
}

/* Names end up in log lines and in events that others print. */
static int vz_get_name(const struct nlattr *attr, char *name, struct netlink_ext_ack *extack)
{
	const char *c;

	nla_strscpy(name, attr, VZ_NAME_MAX + 1);
	for (c = name; *c; c++) {
		if (isascii(*c) && !isprint(*c)) {
			NL_SET_ERR_MSG_ATTR(extack, attr, "the name has a control character");
			return -EINVAL;
		}
	}
	return 0;
}

static int vz_get_boot(const struct nlattr *attr, u64 *boot_ns, struct netlink_ext_ack *extack)
{
	*boot_ns = nla_get_u64(attr);
	if (*boot_ns > ktime_get_boottime_ns()) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "the container's start is in the future");
		return -EINVAL;
	}
	return 0;
}

/* The members of a container that a message has. */
static int vz_get_ct(struct genl_info *info, struct vz_ct_info *ct, unsigned int *fields)
{
	struct nlattr **attrs = info->attrs;
	int ret;

	memset(ct, 0, sizeof(*ct));
	*fields = 0;
	ret = vz_get_id(info, &ct->cgroup_id);
	if (!ret && attrs[VZ_A_NAME]) {
		*fields |= VZ_CT_NAME;
		ret = vz_get_name(attrs[VZ_A_NAME], ct->name, info->extack);
	}
	if (!ret && attrs[VZ_A_BOOT_NS]) {
		*fields |= VZ_CT_BOOT_NS;
		ret = vz_get_boot(attrs[VZ_A_BOOT_NS], &ct->boot_ns, info->extack);
	}
	if (ret)
		return ret;
	if (attrs[VZ_A_CTID]) {
		*fields |= VZ_CT_CTID;
		ct->ctid = nla_get_u32(attrs[VZ_A_CTID]);
	}
	if (attrs[VZ_A_CPUS]) {
		*fields |= VZ_CT_CPUS;
		ct->cpus = nla_get_u32(attrs[VZ_A_CPUS]);
	}
	if (attrs[VZ_A_FLAGS]) {
		*fields |= VZ_CT_FLAGS;
		ct->flags = nla_get_u32(attrs[VZ_A_FLAGS]);
	}
	return 0;
}

static int vz_unknown(struct genl_info *info, int ret)
{
	if (ret == -ENOENT)
		NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[VZ_A_CGROUP_ID],
				    "no container is registered with this cgroup id");
	return ret;
}

static int vz_cmd_ct_add(struct sk_buff *skb, struct genl_info *info)
{
	struct vz_addrs *addrs;
	struct vz_ct_info ct;
	unsigned int fields;
	int ret;

	ret = vz_get_ct(info, &ct, &fields);
	if (ret)
		return ret;
	if (GENL_REQ_ATTR_CHECK(info, VZ_A_CTID)) {
		NL_SET_ERR_MSG(info->extack, "the container's number is missing");
		return -EINVAL;
	}
	addrs = vz_get_addrs(info, &fields);
	if (IS_ERR(addrs))
		return PTR_ERR(addrs);
	ret = vz_ct_add(&ct, addrs);
	if (ret)
		kfree(addrs);
	if (ret == -ENOENT)
		NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[VZ_A_CGROUP_ID],
				    "no cgroup has this id");
	if (ret == -EEXIST)
		NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[VZ_A_CGROUP_ID],
				    "a container is registered with this cgroup id already");
	return ret;
}

static int vz_cmd_ct_set(struct sk_buff *skb, struct genl_info *info)
{
	struct vz_addrs *addrs;
	struct vz_ct_info ct;
	unsigned int fields;
	int ret;

	ret = vz_get_ct(info, &ct, &fields);
	if (ret)
		return ret;
	addrs = vz_get_addrs(info, &fields);
	if (IS_ERR(addrs))
		return PTR_ERR(addrs);
	ret = vz_ct_set(&ct, fields, addrs);
	if (ret)
		kfree(addrs);
	return vz_unknown(info, ret);
}

static int vz_cmd_ct_del(struct sk_buff *skb, struct genl_info *info)
{
	u64 id;
	int ret;

	ret = vz_get_id(info, &id);
	return ret ?: vz_unknown(info, vz_ct_del(id));
}

static int vz_put_ct(struct sk_buff *skb, const struct vz_ct_info *ct)
{
	if (nla_put_u64_64bit(skb, VZ_A_CGROUP_ID, ct->cgroup_id, VZ_A_PAD) ||
	    nla_put_u32(skb, VZ_A_CTID, ct->ctid) ||
	    nla_put_string(skb, VZ_A_NAME, ct->name) ||
	    nla_put_u32(skb, VZ_A_CPUS, ct->cpus) ||
	    nla_put_u64_64bit(skb, VZ_A_BOOT_NS, ct->boot_ns, VZ_A_PAD) ||
	    nla_put_u32(skb, VZ_A_FLAGS, ct->flags) || vz_put_addrs_of(skb, ct->cgroup_id))
		return -EMSGSIZE;
	return 0;
}

static int vz_put_info(struct sk_buff *skb)
{
	if (nla_put_u32(skb, VZ_A_ABI, VZ_ABI) ||
	    nla_put_string(skb, VZ_A_VERSION, VZ_VERSION) ||
	    nla_put_u32(skb, VZ_A_NR_CTS, vz_ct_count()) ||
	    nla_put_u32(skb, VZ_A_NR_SLEEPERS, vz_delay_count()) ||
	    nla_put_u32(skb, VZ_A_UB_STATE, vz_ub_state()))
		return -EMSGSIZE;
	return 0;
}

/* Answers with INFO, or with a container where there is one. */
static int vz_reply(struct genl_info *info, u8 cmd, const struct vz_ct_info *ct)
{
	struct sk_buff *skb = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	void *header;

	if (!skb)
		return -ENOMEM;
	header = genlmsg_put_reply(skb, info, &vz_genl, 0, cmd);
	if (!header || (ct ? vz_put_ct(skb, ct) : vz_put_info(skb))) {
		nlmsg_free(skb);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, header);
	return genlmsg_reply(skb, info);
}

static int vz_cmd_info(struct sk_buff *skb, struct genl_info *info)
{
	return vz_reply(info, VZ_CMD_INFO, NULL);
}

static int vz_cmd_ct_get(struct sk_buff *skb, struct genl_info *info)
{
	struct vz_ct_info ct;
	u64 id;
	int ret;

	ret = vz_get_id(info, &id);
	if (!ret)
		ret = vz_unknown(info, vz_ct_get(id, &ct));
	return ret ?: vz_reply(info, VZ_CMD_CT_GET, &ct);
}

static int vz_dump_start(struct netlink_callback *cb)
{
	BUILD_BUG_ON(sizeof(struct vz_ct_position) > sizeof(cb->ctx));
	return vz_may(cb->skb, cb->extack);
}

static int vz_dump_one(struct sk_buff *skb, struct netlink_callback *cb,
		       const struct vz_ct_info *ct)
{
	void *header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				   &vz_genl, NLM_F_MULTI, VZ_CMD_CT_GET);

	if (!header)
		return -EMSGSIZE;
	if (vz_put_ct(skb, ct)) {
		genlmsg_cancel(skb, header);
		return -EMSGSIZE;
	}
	genl_dump_check_consistent(cb, header);
	genlmsg_end(skb, header);
	return 0;
}

/* One buffer full; the position moves only over what was put into it. */
static int vz_dump_cts(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct vz_ct_position *position = (void *)cb->ctx;
	struct vz_ct_position next = *position;
	struct vz_ct_info ct;

	/* 0 would mean: not checked */
	cb->seq = vz_ct_generation() | 1U << 31;
	while (vz_ct_next(&next, &ct)) {
		if (vz_dump_one(skb, cb, &ct))
			break;
		*position = next;
	}
	return skb->len;
}

static const struct genl_ops vz_ops[] = {
	{
		.cmd = VZ_CMD_INFO,
		.policy = vz_policy_none,
		.doit = vz_cmd_info,
	}, {
		.cmd = VZ_CMD_CT_ADD,
		.policy = vz_policy_ct,
		.doit = vz_cmd_ct_add,
	}, {
		.cmd = VZ_CMD_CT_SET,
		.policy = vz_policy_ct,
		.doit = vz_cmd_ct_set,
	}, {
		.cmd = VZ_CMD_CT_DEL,
		.policy = vz_policy_id,
		.doit = vz_cmd_ct_del,
	}, {
		.cmd = VZ_CMD_CT_GET,
		.policy = vz_policy_id,
		.doit = vz_cmd_ct_get,
		.start = vz_dump_start,
		.dumpit = vz_dump_cts,
	}, {
		.cmd = VZ_CMD_UB_MAPS,
		.policy = vz_policy_ub,
		.doit = vz_cmd_ub_maps,
	},
};

static const struct genl_multicast_group vz_groups[] = {
	{ .name = VZ_GENL_MCGRP_EVENTS, .flags = GENL_MCAST_CAP_SYS_ADMIN },
};

static struct genl_family vz_genl __ro_after_init = {
	.name = VZ_GENL_NAME,
	.version = VZ_GENL_VERSION,
	.maxattr = VZ_A_MAX,
	.pre_doit = vz_pre_doit,
	.module = THIS_MODULE,
	.ops = vz_ops,
	.n_ops = ARRAY_SIZE(vz_ops),
	.mcgrps = vz_groups,
	.n_mcgrps = ARRAY_SIZE(vz_groups),
};

static u64 vz_limit_bytes(unsigned long pages)
{
	return pages == VZ_NO_LIMIT ? U64_MAX : (u64)pages << PAGE_SHIFT;
}

static int vz_put_u64(struct sk_buff *skb, enum vz_attr attr, u64 value)
{
	return nla_put_u64_64bit(skb, attr, value, VZ_A_PAD);
}

static int vz_put_oom(struct sk_buff *skb, const struct vz_oom_event *event)
{
	const struct vz_memory *memory = &event->memory;

	if (nla_put_u32(skb, VZ_A_EVENT, event->event) ||
	    vz_put_u64(skb, VZ_A_CGROUP_ID, event->ct.cgroup_id) ||
	    nla_put_u32(skb, VZ_A_CTID, event->ct.ctid) ||
	    nla_put_string(skb, VZ_A_NAME, event->ct.name) ||
	    nla_put_u32(skb, VZ_A_PID, event->pid) ||
	    nla_put_string(skb, VZ_A_COMM, event->comm) ||
	    nla_put_u32(skb, VZ_A_UID, event->uid) ||
	    vz_put_u64(skb, VZ_A_RSS_ANON, event->rss_anon) ||
	    vz_put_u64(skb, VZ_A_RSS_FILE, event->rss_file) ||
	    vz_put_u64(skb, VZ_A_RSS_SHMEM, event->rss_shmem) ||
	    vz_put_u64(skb, VZ_A_SWAP_ENTS, event->swap_ents) ||
	    vz_put_u64(skb, VZ_A_RAM_USAGE, (u64)memory->ram_usage << PAGE_SHIFT) ||
	    vz_put_u64(skb, VZ_A_RAM_LIMIT, vz_limit_bytes(memory->ram_limit)) ||
	    vz_put_u64(skb, VZ_A_SWAP_USAGE, (u64)memory->swap_usage << PAGE_SHIFT) ||
	    vz_put_u64(skb, VZ_A_SWAP_LIMIT, vz_limit_bytes(memory->swap_limit)))
		return -EMSGSIZE;
	return 0;
}

/* Tells the listeners, if there are any. */
void vz_netlink_oom(const struct vz_oom_event *event)
{
	struct sk_buff *skb;
	void *header;

	if (!genl_has_listeners(&vz_genl, &init_net, 0))
		return;
	skb = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	if (!skb)
		return;
	header = genlmsg_put(skb, 0, 0, &vz_genl, 0, VZ_CMD_EVENT);
	if (!header || vz_put_oom(skb, event)) {
		nlmsg_free(skb);
		return;
	}
	genlmsg_end(skb, header);
	genlmsg_multicast(&vz_genl, skb, 0, 0, GFP_KERNEL);
}

int vz_netlink_init(void)
{
	return genl_register_family(&vz_genl);
}

void vz_netlink_exit(void)
{
	genl_unregister_family(&vz_genl);
}

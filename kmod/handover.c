// SPDX-License-Identifier: GPL-2.0-only
/* VZ_CMD_UB_MAPS: user space hands over where BPF programs count. */
#include <linux/bpf.h>
#include <linux/module.h>
#include <net/genetlink.h>

#include "internal.h"

static struct bpf_map *vz_get_map(struct genl_info *info, enum vz_attr attr)
{
	struct bpf_map *map = bpf_map_get(nla_get_u32(info->attrs[attr]));

	if (IS_ERR(map))
		NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[attr], "not a BPF map");
	return map;
}

static struct bpf_prog *vz_get_refresh(struct genl_info *info)
{
	const struct nlattr *attr = info->attrs[VZ_A_UB_REFRESH_FD];
	struct bpf_prog *prog;

	if (!attr)
		return NULL;
	prog = bpf_prog_get_type_dev(nla_get_u32(attr), BPF_PROG_TYPE_SYSCALL, false);
	if (IS_ERR(prog))
		NL_SET_ERR_MSG_ATTR(info->extack, attr, "not a BPF program of type syscall");
	return prog;
}

/* Both maps, or nothing at all. */
static int vz_check_ub(struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;

	if (!attrs[VZ_A_UB_FD] == !attrs[VZ_A_UB_CONF_FD] &&
	    (attrs[VZ_A_UB_FD] || !attrs[VZ_A_UB_REFRESH_FD]))
		return 0;
	NL_SET_ERR_MSG(info->extack, "the counters and the limits belong together");
	return -EINVAL;
}

static int vz_set_ub(struct genl_info *info, struct bpf_map *ub, struct bpf_map *conf)
{
	struct bpf_prog *refresh = vz_get_refresh(info);
	int ret;

	if (IS_ERR(refresh))
		return PTR_ERR(refresh);
	ret = vz_ub_set_maps(ub, conf, refresh);
	if (ret && refresh)
		bpf_prog_put(refresh);
	if (ret == -EINVAL)
		NL_SET_ERR_MSG(info->extack, "no map or program for beancounters");
	return ret;
}

/* The descriptors are those of current, who sends. */
int vz_cmd_ub_maps(struct sk_buff *skb, struct genl_info *info)
{
	struct bpf_map *ub, *conf;
	int ret;

	ret = vz_check_ub(info);
	if (ret)
		return ret;
	if (!info->attrs[VZ_A_UB_FD])
		return vz_ub_set_maps(NULL, NULL, NULL);
	ub = vz_get_map(info, VZ_A_UB_FD);
	if (IS_ERR(ub))
		return PTR_ERR(ub);
	conf = vz_get_map(info, VZ_A_UB_CONF_FD);
	if (IS_ERR(conf)) {
		bpf_map_put(ub);
		return PTR_ERR(conf);
	}
	ret = vz_set_ub(info, ub, conf);
	if (ret) {
		bpf_map_put(ub);
		bpf_map_put(conf);
	}
	return ret;
}

/* Of bpf_map_get(); MODULE_IMPORT_NS() wants a string or none, depending on the kernel. */
MODULE_INFO(import_ns, "BPF_INTERNAL");

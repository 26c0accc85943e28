// SPDX-License-Identifier: GPL-2.0-only
/* vz.ko: loading and unloading, in order. */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>

#include "internal.h"

static const struct {
	int (*init)(void);
	void (*exit)(void);
} vz_parts[] = {
	{ vz_host_init, vz_host_exit },
	{ vz_load_init, vz_load_exit },
	{ vz_ct_init, vz_ct_exit },
	{ vz_delay_init, vz_delay_exit },
	{ vz_ub_init, vz_ub_exit },
	{ vz_netlink_init, vz_netlink_exit },
	{ vz_oom_init, vz_oom_exit },
	{ vzfs_init, vzfs_exit },
	{ vz_links_init, vz_links_exit },
};

static void vz_exit_parts(unsigned int count)
{
	while (count--)
		vz_parts[count].exit();
}

static int __init vz_init(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(vz_parts); i++) {
		ret = vz_parts[i].init();
		if (ret) {
			vz_exit_parts(i);
			return ret;
		}
	}
	return 0;
}

/*
 * `rmmod --force` gets here with users left: a loaded BPF program that calls
 * vz_delay_current(), a task in a delay, a mounted vzfs. Each of them returns
 * into this module's text, so nothing may go before they have gone. New ones
 * are refused, as the module is marked as going.
 */
static void vz_wait_for_users(void)
{
	if (module_refcount(THIS_MODULE) <= 0)
		return;
	pr_warn("forced to unload with %d users left: waiting for them\n",
		module_refcount(THIS_MODULE));
	vz_delay_forgive(0);
	while (module_refcount(THIS_MODULE) > 0)
		msleep(20);
}

static void __exit vz_exit(void)
{
	vz_wait_for_users();
	vz_exit_parts(ARRAY_SIZE(vz_parts));
}

module_init(vz_init);
module_exit(vz_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("System containers: virtual swap delays, /proc of a container, OOM events");
MODULE_VERSION(VZ_VERSION);

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`vzctl check` on a stock kernel: everything that Debian's kernel has is found."""
import labguest
import vzhost
from labguest import CGROUP, SYSTEMD
from vzhost import run, vzctl

STOCK = ("kernel.userns", "kernel.pidfd", "kernel.clone_into_cgroup", "mount.new_api", "mount.idmapped", "seccomp",
         "cap.sys_resource", "cgroup.v2", "cgroup.memory", "cgroup.swap", "cgroup.cpu", "cgroup.cpuset", "cgroup.io",
         "cgroup.pids", "cgroup.freezer", "cgroup.kill", "bpf.cgroup_device", "bpf.tc", "loop", "fs.ext4",
         "fs.project_quota", "net.veth", "net.bridge", "tun", "fuse", "swap")


class Features(vzhost.HostTest):
    def test_stock_kernel(self):
        missing = {name: vzhost.feature(name)["detail"] for name in STOCK if not vzhost.feature(name)["present"]}
        self.assertEqual(missing, {})

    def test_cgroup2_only(self):
        self.assertEqual(run(["stat", "-f", "-c", "%T", CGROUP], check=0).out.strip(), "cgroup2fs")
        for name in ("memory", "cpu", "cpuset", "io", "pids"):
            self.assertIn("v2", vzhost.feature(f"cgroup.{name}")["detail"])

    def test_systemd_is_known(self):
        found = vzhost.feature("systemd")
        self.assertTrue(found["name"] == "systemd" and (found["present"] or not SYSTEMD), found)

    def test_every_missing_one_has_a_remedy(self):
        for entry in vzctl("check", "--json").json():
            if not entry["present"]:
                self.assertTrue(entry["remedy"] and entry["consequence"], entry)

    def test_limits_reach_the_one_place(self):
        """All limits are in P/ct; what the container sees as its root is below and shows none of them."""
        ctid = self.start("--ram", "64M", "--swap", "0", "--numproc", "50")
        self.assertEqual(labguest.value(ctid, "pids.max"), "50")
        names = self.inside(ctid, "ls /sys/fs/cgroup; cat /proc/self/cgroup")
        self.assertNotIn(str(ctid), names)
        limit = self.inside(ctid, "cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max").strip()
        self.assertEqual(limit, "max")
        self.assertNotEqual(vzctl("exec2", ctid, "echo 0 > /sys/fs/cgroup/../memory.max").rc, 1000)
        self.assertEqual(labguest.number(ctid, "memory.max"), 64 << 20)


if __name__ == "__main__":
    labguest.main()

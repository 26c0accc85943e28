#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vz beside systemd on one cgroup tree: reloads undo no limit, each container is a scope, stopping leaves nothing."""
import unittest

import labguest
import vzhost
from labguest import MIB, SYSTEMD, scope, set_, value
from vzhost import run, vzctl


def systemctl(*args, **kw):
    return run(["systemctl", *args], **kw)


def show(unit, name):
    return systemctl("show", "--value", "-p", name, unit, check=0).out.strip()


class Systemd(vzhost.HostTest):
    LIMITS = ("--ram", "96M", "--swap", "32M", "--numproc", "77", "--cpulimit", "35", "--cpuunits", "2500",
              "--cpumask", "0", "--iolimit", "9M", "--iopslimit", "444")
    FILES = ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight", "cpuset.cpus", "io.max")

    @classmethod
    def setUpClass(cls):
        if not SYSTEMD:
            raise unittest.SkipTest("needs --systemd")

    def limits(self, ctid):
        return {name: value(ctid, name) for name in self.FILES}

    def test_no_reload_undoes_a_limit(self):
        ctid = self.start(*self.LIMITS)
        before = self.limits(ctid)
        self.assertEqual((before["memory.max"], before["memory.swap.max"], before["pids.max"], before["cpuset.cpus"]),
                         (str(96 * MIB), str(32 * MIB), "77", "0"))
        self.assertEqual((before["cpu.max"], before["cpu.weight"]), ("35000 100000", "250"))
        self.assertIn(f"rbps={9 * MIB} wbps={9 * MIB} riops=444 wiops=444", before["io.max"])
        for command in (("daemon-reload",), ("daemon-reexec",), ("set-property", "--runtime", "vz.slice", "CPUWeight=90"),
                        ("set-property", "--runtime", "vz.slice", "MemoryMax=1500M"), ("daemon-reload",)):
            with self.subTest(command=command):
                systemctl(*command, check=0)
                self.assertEqual(self.limits(ctid), before)
        set_(ctid, "--ram", "64M", "--swap", "64M", check=0)
        changed = self.limits(ctid)
        self.assertEqual((changed["memory.max"], changed["memory.swap.max"]), (str(64 * MIB), str(64 * MIB)))
        systemctl("daemon-reload", check=0)
        systemctl("daemon-reexec", check=0)
        self.assertEqual(self.limits(ctid), changed)
        self.assertEqual(self.inside(ctid, "echo alive").strip(), "alive")

    def test_changes_by_systemd_to_the_scope_do_not_reach_the_limits(self):
        ctid = self.start(*self.LIMITS)
        before = self.limits(ctid)
        systemctl("set-property", "--runtime", f"vz-{ctid}.scope", "TasksMax=500", "MemoryMax=1G", check=0)
        systemctl("daemon-reload", check=0)
        self.assertEqual(self.limits(ctid), before)

    def test_scope_is_visible(self):
        ctid = self.start()
        unit = f"vz-{ctid}.scope"
        status = systemctl("status", "--no-pager", unit)
        self.assertRc(status, 0)
        self.assertIn("active (running)", status.out)
        self.assertIn(str(ctid), status.out.splitlines()[0])
        self.assertEqual((show(unit, "Slice"), show(unit, "Delegate")), ("vz.slice", "yes"))
        self.assertIn(unit, run(["systemd-cgls", "--no-pager", "/vz.slice"], check=0).out)
        self.assertIn(unit, systemctl("list-units", "--type=scope", "--no-legend", check=0).out)

    def test_shutdown_order(self):
        """vz.service stops before the scopes that it stops properly."""
        before = show(f"vz-{self.start()}.scope", "Before").split()
        self.assertIn("vz.service", before)
        self.assertIn("shutdown.target", before)

    def test_stop_cleans_up(self):
        for how in (("stop",), ("stop", "--fast"), ("exec", "poweroff")):
            with self.subTest(how=how):
                ctid = self.start()
                vzctl(how[0], ctid, *how[1:])
                vzhost.wait_for(lambda: not scope(ctid).exists(), what="cgroup gone")
                vzhost.wait_for(lambda: show(f"vz-{ctid}.scope", "LoadState") == "not-found", what="unit gone")
                self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        failed = systemctl("--failed", "--no-legend", "--plain", check=0).out
        self.assertNotIn("vz", failed)

    def test_stop_of_the_scope_is_a_stop(self):
        ctid = self.start()
        systemctl("stop", f"vz-{ctid}.scope", check=0, timeout=150)
        vzhost.wait_for(lambda: "down" in self.status(ctid), what="container down")
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "echo again").strip(), "again")

    def test_a_slice_stopped_by_mistake_leaves_startable_containers(self):
        ctid = self.start()
        systemctl("stop", "vz.slice", check=0, timeout=150)
        vzhost.wait_for(lambda: "down" in self.status(ctid), what="container down")
        vzctl("start", ctid, check=0)


if __name__ == "__main__":
    labguest.main()

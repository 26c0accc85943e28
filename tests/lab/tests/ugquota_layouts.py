#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Quotas of users inside on each file system that can have them: an image, ext4 and XFS of the host. Debian's tools in a small
container; ugquota.py has them in a Debian one."""
import json
import os
import pathlib
import subprocess

import labguest
import labquota
import vzhost
from escape import check_image_out_of_reach, check_out_of_reach
from labquota import FULL, LIB
from quotafs import USER, quota
from vzhost import run, vzctl, wait_for


def setUpModule():
    labquota.install()
    labquota.start_vzd()


def tearDownModule():
    labquota.end_vzd()


class Layout(labquota.Case):
    """Base: what holds on all of them."""
    LAYOUT = "dir"

    def container(self, **kw):
        return self.make(layout=self.LAYOUT, **kw)

    def restart(self, ctid, limit):
        vzctl("stop", ctid, check=0)
        vzctl("set", ctid, "--quotaugidlimit", limit, "--save", check=0)
        vzctl("start", ctid, check=0)

    def test_what_root_inside_sets_bites(self):
        ctid = self.container()
        self.assert_limits_bite(ctid)
        self.assertEqual(self.entry(ctid, "user", "alice")["space_hard"], 2 << 20)

    def test_limits_and_grace_survive(self):
        ctid = self.container()
        self.inside(ctid, "setquota -u alice 1024 2048 30 40 /; setquota -g bob 11 22 0 0 /")
        self.assertEqual(self.write(ctid, "alice", "/home/alice/big", 1).rc, 0)
        self.inside(ctid, "su alice -c 'dd if=/dev/zero of=/home/alice/more bs=1k count=400' 2>&1; sync")
        until = self.entry(ctid, "user", "alice")["space_until"]
        self.assertGreater(until, 0)
        vzctl("stop", ctid, check=0)
        stopped = self.entry(ctid, "user", "alice")
        self.assertEqual((stopped["space_soft"], stopped["inodes_hard"], stopped["space_until"]), (1 << 20, 40, until))
        # set while it is stopped
        self.quota(ctid, "user", "1001", "--blocks", "100", "--inodes", "9", check=0)
        vzctl("start", ctid, check=0)
        self.assertRegex(self.inside(ctid, "repquota -a"), r"(?m)^bob +-- +\d+ +100 +100 +\d+ +9 +9")
        self.assertIn(FULL, self.write(ctid, "bob", "/home/bob/x", 1).out)
        self.assertIn(FULL, self.write(ctid, "alice", "/home/alice/x", 2).out)

    def test_off(self):
        ctid = self.container()
        self.inside(ctid, "setquota -u alice 0 1024 0 0 /")
        needs = vzctl("set", ctid, "--quotaugidlimit", "0", "--save", "--setmode", "ignore")
        self.assertEqual(needs.rc, 32, repr(needs))
        self.restart(ctid, 0)
        self.assertEqual(self.caller(ctid, "call", "getinfo", "user", "/", 0), "EPERM")
        self.assertEqual(self.caller(ctid, "call", "getinfo", "user", self.special(ctid), 0), "EPERM")
        # a directory's limits are those of the host's file system and hold on
        self.assertEqual(self.write(ctid, "alice", "/home/alice/x", 3).rc, 0 if self.LAYOUT == "image" else 1)
        # what was written meanwhile counts when they are on again
        self.restart(ctid, 5)
        self.assertIn(FULL, self.write(ctid, "alice", "/home/alice/y", 2).out)

    def test_monitor_tells_what_is_met(self):
        ctid = self.container()
        self.inside(ctid, "setquota -u alice 1024 2048 0 0 /")
        monitor = subprocess.Popen([vzhost.BIN / "vzctl", "monitor", str(ctid), "--json"], stdout=subprocess.PIPE, text=True,
                                   stdin=subprocess.DEVNULL)
        self.addCleanup(monitor.wait)
        self.addCleanup(monitor.kill)
        self.addCleanup(monitor.stdout.close)
        wait_for(lambda: self.listens(monitor.pid), what="vzctl monitor")
        self.assertIn(FULL, self.write(ctid, "alice", "/home/alice/big", 4).out)
        uid = int(self.inside(ctid, "id -u alice"))
        self.read_until(monitor, f"user {uid}: soft limit of disk space exceeded, the grace time runs",
                        f"user {uid}: hard limit of disk space reached")
        if self.LAYOUT == "dir":
            vzctl("exec2", ctid, "dd if=/dev/zero of=/all bs=64k")
            self.read_until(monitor, "disk: hard limit of disk space reached")

    def test_ids_beyond_those_of_the_container(self):
        ctid = self.container()
        special = self.special(ctid)
        for kind, number in (("user", 65536), ("group", (1 << 32) - 1), ("user", (1 << 32) + 1000), ("group", 1 << 64)):
            with self.subTest(kind=kind, id=number):
                refused = self.quota(ctid, kind, number, "--blocks", "1M")
                self.assertEqual(refused.rc, 21, repr(refused))
                self.assertRegex(refused.err, "id .* is outside of|is not in the container's")
        for op, number in (("getquota", 65536), ("setquota", (1 << 31) + 1000), ("setquota", (1 << 32) - 1)):
            with self.subTest(op=op, id=number):
                self.assertIn(self.caller(ctid, "call", op, "user", special, number), ("EPERM", "EINVAL"))
        self.quota(ctid, "user", 65535, "--blocks", "1M", check=0)
        self.assertEqual(self.caller(ctid, "call", "getnext", "user", special, 2000), "65535")
        # nothing was set for 1000, which some of them are when they are cut to 16 or 32 bits
        self.assertEqual(self.entry(ctid, "user", "alice")["space_hard"], 0)

    def read_until(self, monitor, *texts):
        """Whatever else it has to tell in between."""
        missing, heard = set(texts), []
        while missing:
            self.assertLess(len(heard), 50, (missing, heard))
            heard.append(json.loads(monitor.stdout.readline())["text"])
            missing.discard(heard[-1])

    @staticmethod
    def listens(pid):
        """It has a netlink socket that is in a multicast group."""
        numbers = {path for path, _ in vzhost.descriptors(pid)}
        lines = [line.split() for line in pathlib.Path("/proc/net/netlink").read_text().splitlines()[1:]]
        return any(f"socket:[{words[9]}]" in numbers and int(words[3], 16) for words in lines)


class Image(Layout):
    LAYOUT = "image"

    def test_it_has_grace_times_of_its_own(self):
        ctid = self.container()
        self.inside(ctid, "setquota -t 3600 7200 /")
        report = json.loads(self.quota(ctid, "report", "--json", check=0).out)
        self.assertEqual((report["user"]["space_grace"], report["user"]["inodes_grace"]), (3600, 7200))
        self.quota(ctid, "grace", "--blocks", "60", check=0)
        self.assertIn("Block grace time: 00:01", self.inside(ctid, "repquota -a"))


    def test_its_size_is_out_of_reach(self):
        """Whatever its root tries: to grow it, to end it, to get at the image below."""
        ctid = self.container()
        check_image_out_of_reach(self, ctid, self.special(ctid))


class OnHost(Layout):
    """Base: ids of the container's own on a file system of the host."""
    MAKE = None

    @classmethod
    def setUpClass(cls):
        labquota.mount_private(cls, cls.MAKE)

    def test_containers_do_not_meet(self):
        first, second = self.container(), self.container()
        self.inside(first, "setquota -u alice 0 1024 0 0 /")
        self.assertIn(FULL, self.write(first, "alice", "/home/alice/x", 3).out)
        self.assertEqual(self.write(second, "alice", "/home/alice/x", 3).rc, 0)
        table = self.inside(second, "repquota -a")
        self.assertRegex(table, r"(?m)^alice +-- +\d+ +0 +0")
        self.assertNotRegex(table, r"(?m)^#", "an id of the host or of a neighbour")
        special = self.special(first)
        # what is the whole file system's
        for op, expected in (("setinfo", "EPERM"), ("getinfo", "0"), ("setquota", "0"), ("quotaoff", "EPERM")):
            self.assertEqual(self.caller(first, "call", op, "user", special, 1), expected, op)
        self.assertEqual(self.caller(first, "call", "getnext", "user", special, 0), "0")
        self.assertEqual(self.quota(first, "grace", "--blocks", "60").rc, 172)
        self.assertEqual(self.entry(first, "user", "alice")["space_hard"], 1 << 20)
        self.assertEqual(self.entry(second, "user", "alice")["space_hard"], 0)
        # the kernel's own word, at the id on the disk
        uid = os.stat(LIB / "private" / str(first) / "fs").st_uid + int(self.inside(first, "id -u alice"))
        self.assertEqual(quota(LIB / "private", USER, uid)["hard"], 1 << 20)

    def test_its_project_is_out_of_reach(self):
        """Whatever quotas its root may set: the project bounds the container."""
        ctid = self.container()
        check_out_of_reach(self, ctid, LIB / "private" / str(ctid) / "fs")


class OnExt4(OnHost):
    MAKE = labquota.EXT4

    def test_refused_without_quotas_of_the_host(self):
        run(["mount", "-t", "tmpfs", "none", LIB / "private"], check=0)
        self.addCleanup(run, ["umount", "-l", LIB / "private"])
        ctid = self.create("--quotaugidlimit", "1", "--layout", "dir", "--diskinodes", "unlimited", diskspace="unlimited")
        refused = vzctl("start", ctid)
        self.assertEqual(refused.rc, 172, repr(refused))
        self.assertRegex(refused.err, r"(?s)--quotaugidlimit cannot be enforced.*usrquota,grpquota")
        started = vzctl("start", ctid, "--force", check=0)
        self.assertIn("going on without it", started.err)


class OnXfs(OnHost):
    MAKE = labquota.XFS


del Layout, OnHost  # bases, without tests of their own

if __name__ == "__main__":
    labguest.main(private=False)

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks of a stock kernel: I/O limits that are felt, images that grow online, the quota features of both layouts."""
import pathlib
import re
import time

import labguest
import vzhost
from labguest import MIB, set_, value
from vzhost import run, vzctl


class Io(vzhost.HostTest):
    def seconds(self, ctid, command):
        began = time.monotonic()
        self.inside(ctid, command)
        return time.monotonic() - began

    WRITE = "dd if=/dev/zero of=/data bs=256k count=48 oflag=direct"  # 12 MiB
    READ = "dd if=/data of=/dev/null bs=256k count=48 iflag=direct"

    def test_iolimit_is_felt_at_once_both_ways(self):
        ctid = self.start(diskspace="128M")
        free = self.seconds(ctid, self.WRITE)
        set_(ctid, "--iolimit", "4M", check=0)
        self.assertRegex(value(ctid, "io.max"), rf"rbps={4 * MIB} wbps={4 * MIB}")
        # 12 MiB at 4 MiB/s are three seconds; the throttle grants the first slice in advance
        self.assertGreater(self.seconds(ctid, self.WRITE), max(2.5, free))
        self.assertGreater(self.seconds(ctid, self.READ), 2.5)
        set_(ctid, "--iolimit", "0", check=0)
        self.assertLess(self.seconds(ctid, self.READ), 2.5)

    def test_buffered_writes_are_limited_too(self):
        ctid = self.start("--iolimit", "4M", diskspace="128M")
        self.assertGreater(self.seconds(ctid, "dd if=/dev/zero of=/data bs=1M count=12 conv=fsync"), 2.0)

    def test_iopslimit_is_felt(self):
        ctid = self.start(diskspace="128M")
        self.inside(ctid, "dd if=/dev/zero of=/data bs=1M count=1 conv=fsync")
        reads = "dd if=/data of=/dev/null bs=4k count=150 iflag=direct"
        self.seconds(ctid, reads)
        set_(ctid, "--iopslimit", "50", check=0)
        self.assertRegex(value(ctid, "io.max"), r"riops=50 wiops=50")
        self.assertGreater(self.seconds(ctid, reads), 2.0)

    def test_a_neighbour_is_not_limited(self):
        slow = self.start("--iolimit", "1M", diskspace="128M")
        quick = self.start(diskspace="128M")
        writer = vzhost.subprocess.Popen([vzhost.BIN / "vzctl", "exec", str(slow), self.WRITE],
                                         stdout=vzhost.subprocess.DEVNULL, stderr=vzhost.subprocess.DEVNULL)
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        self.assertLess(self.seconds(quick, self.WRITE), 6)
        self.assertIsNone(writer.poll(), "the limited one is still at it")


class Image(vzhost.HostTest):
    def kib(self, ctid):
        return int(self.inside(ctid, "df -k / | tail -n 1").split()[1])

    def test_grows_online_while_it_is_written(self):
        vzhost.need("cap.sys_resource")
        ctid = self.start(diskspace="64M")
        before = self.kib(ctid)
        writer = vzhost.subprocess.Popen([vzhost.BIN / "vzctl", "exec2", str(ctid),
                                          "while :; do date > /stamp; sync; done"],
                                         stdout=vzhost.subprocess.DEVNULL, stderr=vzhost.subprocess.DEVNULL)
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        set_(ctid, "--diskspace", "256M", check=0)
        self.assertGreater(self.kib(ctid), before + 150 * 1024)
        self.inside(ctid, "dd if=/dev/urandom of=/big bs=1M count=150; md5sum /big > /sum")
        writer.kill()
        vzctl("restart", ctid, check=0)
        self.inside(ctid, "md5sum -c /sum")
        vzctl("stop", ctid, check=0)
        checked = run(["e2fsck", "-fn", f"/var/lib/vz/private/{ctid}/root.img"])
        self.assertRc(checked, 0)

    def test_quota_features(self):
        """What the second-level quota of a container needs is in the image from its first day."""
        ctid = self.start()
        features = run(["dumpe2fs", "-h", f"/var/lib/vz/private/{ctid}/root.img"], check=0).out
        words = re.search(r"^Filesystem features:(.*)$", features, re.M).group(1).split()
        self.assertIn("quota", words)
        self.assertNotIn("project", words)
        self.assertIn("has_journal", words)
        self.assertRegex(self.inside(ctid, "grep ' / ' /proc/mounts"), r" ext4 rw")


class ProjectQuota(vzhost.HostTest):
    def test_found_on_a_file_system_mounted_with_it(self):
        self.assertIn("prjquota", pathlib.Path("/proc/mounts").read_text())
        self.assertTrue(vzhost.feature("fs.project_quota")["present"], vzhost.feature("fs.project_quota"))

    def test_not_found_where_it_is_off(self):
        disk = pathlib.Path("/dev/vdb")
        if not disk.exists():
            self.skipTest("needs --disks 1")
        for make, options, present in (((), "defaults", False), (("-O", "quota,project"), "defaults", None),
                                       (("-O", "quota,project"), "prjquota", True)):
            with self.subTest(make=make, options=options):
                run(["mkfs.ext4", "-q", "-F", *make, disk], check=0)
                run(["mount", "-o", options, disk, "/var/lib/vz"], check=0)
                try:
                    found = vzhost.feature("fs.project_quota")
                    if present is not None:
                        self.assertEqual(found["present"], present, found)
                    if not found["present"]:
                        self.assertTrue(found["detail"] and found["remedy"], found)
                finally:
                    run(["umount", "/var/lib/vz"], check=0)


if __name__ == "__main__":
    labguest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Quotas of users inside on a patched kernel that answers quotactl(2) itself: Debian's tools without vzd, on ext4 and XFS.

In a guest of tests/lab/run --kernel patched…|uml… --disks 1. ugquota_layouts.py has the same through vzd, on stock kernels.
"""
import os
import pathlib
import unittest

import labguest
import labquota
import vzhost
from escape import check_out_of_reach
from labquota import DISK, FULL, LIB
from quotafs import USER, quota
from vzhost import vzctl, wait_for

SWITCH = pathlib.Path("/proc/sys/fs/quota/userns_admin")


def setUpModule():
    if not SWITCH.exists():
        raise unittest.SkipTest(f"{os.uname().release} has no fs.quota.userns_admin: --kernel patched or uml")
    labquota.install()


class Native(labquota.Case):
    """Base: private areas of the dir layout, on a file system with all kinds of quota."""
    MAKE = None

    @classmethod
    def setUpClass(cls):
        labquota.mount_private(cls, cls.MAKE)
        SWITCH.write_text("1")
        cls.addClassCleanup(SWITCH.write_text, "0")

    @staticmethod
    def listeners(ctid):
        return sorted(path.name for path in pathlib.Path(f"/run/vz/{ctid}").glob("quota.*"))

    @staticmethod
    def end_vzd():
        vzhost.stop_vzd()
        wait_for(lambda: vzhost.vzd_pid() is None, what="the end of vzd")

    def test_tools_work_without_vzd(self):
        ctid = self.make("dir")
        self.assertTrue(vzhost.feature("quota.native")["present"])
        self.assertEqual(self.listeners(ctid), [])
        self.end_vzd()
        self.assert_limits_bite(ctid)
        # device, usage, then the limits of space; edquota takes a file with its old time for one that was not changed
        self.inside(ctid, r"""printf '#!/bin/sh\nsed -E -i "s,^( */dev/[a-z0-9]+ +[0-9]+) +[0-9]+ +[0-9]+,\\1 112 224," "$1"; touch -d 2040-01-01 "$1"\n' """
                          "> /edit; chmod +x /edit; EDITOR=/edit edquota -u bob")
        # the kernel's own word, at the id on the disk, and vzctl's
        uid = os.stat(LIB / "private" / str(ctid) / "fs").st_uid + int(self.inside(ctid, "id -u bob"))
        self.assertEqual(quota(LIB / "private", USER, uid)["hard"], 224 * 1024)
        self.assertEqual(self.entry(ctid, "user", "bob")["space_hard"], 224 * 1024)

    def test_what_is_not_the_containers_is_refused(self):
        first, second = self.make("dir"), self.make("dir")
        self.inside(first, "setquota -u alice 0 1024 0 0 /")
        self.assertEqual(self.entry(second, "user", "alice")["space_hard"], 0)
        special = self.special(first)
        for refused, op, kind, where, ident in (
                (("EPERM", "EINVAL"), "getquota", "user", special, 65536), (("EPERM", "EINVAL"), "setquota", "user", "/", 65536),
                (("EPERM",), "getquota", 2, special, 0), (("EPERM",), "setquota", 2, "/", 0), (("EPERM",), "getnext", 2, "/", 0),
                (("EPERM",), "setinfo", "user", special, 0), (("EPERM",), "setusage", "user", special, 1),
                (("EPERM",), "quotaoff", "user", special, 0), (("EPERM",), "quotaon", "user", special, 2),
                (("EPERM",), "xquotaoff", "user", "/", 0), (("ENOENT",), "getnext", "user", special, 65536)):
            with self.subTest(op=op, kind=kind, where=where, id=ident):
                self.assertIn(self.caller(first, "call", op, kind, where, ident), refused)
        self.assertEqual(self.caller(first, "call", "setquota", "user", special, 1000, user="alice"), "EPERM")
        self.assertNotEqual(vzctl("exec2", first, f"echo 0 > {SWITCH}").rc, 0)

    def test_switched_off_it_is_vzd_again(self):
        ctid = self.make("dir", start=False)
        SWITCH.write_text("0")
        self.addCleanup(SWITCH.write_text, "1")
        self.assertFalse(vzhost.feature("quota.native")["present"])
        self.start_with_users(ctid)
        self.assertNotEqual(self.listeners(ctid), [])
        self.inside(ctid, "setquota -u alice 0 1024 0 0 /")
        self.assertIn(FULL, self.write(ctid, "alice", "/home/alice/big", 4).out)

    def test_without_quotaugidlimit_nothing_is_answered(self):
        ctid = self.make("dir", start=False)
        vzctl("set", ctid, "--quotaugidlimit", "0", "--save", check=0)
        self.start_with_users(ctid)
        for where in "/", f"/dev/{DISK.resolve().name}":
            self.assertEqual(self.caller(ctid, "call", "getinfo", "user", where, 0), "EPERM")

    def test_an_image_has_its_own_ids_and_vzd(self):
        """The kernel would take 0 inside for the container's first id on the host, and the image has it as 0."""
        ctid = self.make("image")
        self.assertNotEqual(self.listeners(ctid), [])
        self.inside(ctid, "setquota -u alice 0 1024 0 0 /")
        self.assertIn(FULL, self.write(ctid, "alice", "/home/alice/big", 4).out)

    def test_its_project_is_out_of_reach(self):
        """Whatever quotas its root may set: the project bounds the container."""
        ctid = self.make("dir")
        check_out_of_reach(self, ctid, LIB / "private" / str(ctid) / "fs")


class Ext4(Native):
    MAKE = labquota.EXT4


class Xfs(Native):
    MAKE = labquota.XFS


del Native  # a base without tests of its own

if __name__ == "__main__":
    labguest.main(private=False)

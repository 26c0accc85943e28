#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Device rules are the kernel's, not only a matter of which nodes are there."""
import os
import pathlib
import stat

import labguest
import vzhost
from labguest import SYSTEMD, set_
from vzhost import run, vzctl

DISK = "vdb"


class Devices(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        vzhost.need("bpf.cgroup_device")
        if not pathlib.Path("/dev", DISK).exists():
            raise vzhost.unittest.SkipTest("needs --disks 1")
        cls.device = os.stat(f"/dev/{DISK}").st_rdev

    def start_with_nodes(self, *options):
        """A container whose mount script shows it a directory of the host with working, world-writable nodes."""
        ctid = self.create(*options)
        nodes = pathlib.Path(f"/run/vz/nodes-{ctid}")
        nodes.mkdir()
        for name, kind, device in ((DISK, stat.S_IFBLK, self.device), ("null", stat.S_IFCHR, os.makedev(1, 3)),
                                   ("mem", stat.S_IFCHR, os.makedev(1, 1)), ("kmsg", stat.S_IFCHR, os.makedev(1, 11))):
            os.mknod(nodes / name, kind | 0o666, device)
            os.chmod(nodes / name, 0o666)
        script = pathlib.Path(f"/etc/vz/conf/{ctid}.mount")
        script.write_text(f"#!/bin/sh\nmount --bind {nodes} /var/lib/vz/root/{ctid}/mnt\n")
        script.chmod(0o755)
        vzctl("start", ctid, check=0)
        return ctid

    def assertDenied(self, ctid, command):
        result = vzctl("exec2", ctid, command)
        self.assertNotEqual(result.rc, 0, repr(result))
        self.assertIn("Operation not permitted", result.err)

    def test_a_node_that_is_there_is_still_denied(self):
        ctid = self.start_with_nodes()
        self.assertEqual(self.inside(ctid, "cat /mnt/null; echo > /mnt/null; echo open").strip(), "open")
        for name in (DISK, "mem", "kmsg"):
            self.assertDenied(ctid, f"head -c 1 /mnt/{name} >/dev/null")
            self.assertDenied(ctid, f"exec 3>/mnt/{name}")

    def test_allowed_online_for_reading_only(self):
        ctid = self.start_with_nodes()
        major, minor = os.major(self.device), os.minor(self.device)
        set_(ctid, "--devices", f"b:{major}:{minor}:r", check=0)
        self.assertEqual(self.inside(ctid, f"head -c 512 /mnt/{DISK} | wc -c").strip(), "512")
        self.assertDenied(ctid, f"exec 3<>/mnt/{DISK}")
        self.assertDenied(ctid, "head -c 1 /mnt/mem")
        set_(ctid, "--devices", f"b:{major}:{minor}:none", check=0)
        self.assertDenied(ctid, f"head -c 512 /mnt/{DISK}")

    def test_devnodes(self):
        ctid = self.start()
        set_(ctid, "--devnodes", f"{DISK}:r", check=0)
        for _ in range(2):  # online, then from the start
            self.assertEqual(self.inside(ctid, f"head -c 512 /dev/{DISK} | wc -c").strip(), "512")
            self.assertDenied(ctid, f"exec 3<>/dev/{DISK}")
            vzctl("restart", ctid, check=0)
        set_(ctid, "--devnodes", f"{DISK}:rw", check=0)
        self.inside(ctid, f"dd if=/dev/zero of=/dev/{DISK} bs=4k count=1 conv=notrunc")
        set_(ctid, "--devnodes", f"{DISK}:none", check=0)
        self.assertNotEqual(vzctl("exec2", ctid, f"test -e /dev/{DISK}").rc, 0)

    def test_rules_survive_systemd(self):
        if not SYSTEMD:
            self.skipTest("needs --systemd")
        ctid = self.start_with_nodes()
        for command in ("daemon-reload", "daemon-reexec"):
            run(["systemctl", command], check=0)
            self.assertDenied(ctid, f"head -c 1 /mnt/{DISK}")
            self.assertEqual(self.inside(ctid, "head -c 4 /dev/zero | wc -c").strip(), "4")


if __name__ == "__main__":
    labguest.main()

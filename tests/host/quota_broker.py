#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""quotactl(2) of containers as vzd answers it, on any kernel: what is refused, hostile callers, vzd that dies. Limits that
bite are in lab/ugquota: they need a kernel with quotas."""
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import run, vzctl, vzd_pid, wait_for

CALLER = pathlib.Path("/run/vz/quota_caller")
# What the kernel says that has no quotas on this file system: the call has come through to it.
THROUGH = ("0", "ESRCH", "ENOSYS", "EOPNOTSUPP")


class Broker(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        if not CALLER.exists():
            run(["gcc", "-O1", "-static", "-pthread", vzhost.SOURCE / "tests/support/quota_caller.c", "-o", CALLER], check=0)

    def start_forced(self, *options):
        ctid = self.create("--quotaugidlimit", "10", *options)
        vzctl("start", ctid, "--force", check=0)
        self.put(ctid)
        return ctid

    def put(self, ctid):
        vzctl("exec2", ctid, "cat > /bin/caller; chmod 755 /bin/caller", stdin=CALLER.read_bytes(), check=0)

    def caller(self, ctid, *args, check=0):
        return self.inside(ctid, f"timeout 60 caller {' '.join(map(str, args))}", check=check).strip()

    def special(self, ctid):
        return self.inside(ctid, "grep ' / ' /proc/self/mounts").split("\n")[-2].split()[0]

    def test_start_refuses_what_the_kernel_cannot(self):
        ctid = self.create("--quotaugidlimit", "10", "--layout", "dir", "--diskinodes", "unlimited", diskspace="unlimited")
        started = vzctl("start", ctid)
        if started.rc == 0:
            self.skipTest("the file system of /var/lib/vz has user quotas")
        self.assertRc(started, 172)
        self.assertIn("--quotaugidlimit cannot be enforced", started.err)

    def test_off_is_eperm(self):
        ctid = self.start()
        self.put(ctid)
        self.assertEqual(self.caller(ctid, "call", "getinfo", "user", "/", 0), "EPERM")

    def test_answers(self):
        ctid = self.start_forced()
        special = self.special(ctid)
        for expected, op, kind, where, ident in (
                (THROUGH, "getinfo", "user", special, 0), (THROUGH, "getquota", "user", "/", 0),
                (THROUGH, "setquota", "group", special, 65535), (("0",), "sync", "user", "-", 0),
                (("EPERM",), "getquota", "user", special, 65536), (("EPERM",), "getquota", 2, special, 0),
                (("EPERM",), "quotaoff", "user", special, 0), (("EPERM",), "quotaon", "user", "/", 0),
                (("EPERM",), "setusage", "user", special, 0), (("EINVAL",), "unknown", "user", special, 0),
                (("ENODEV",), "getinfo", "user", "/dev/null", 0), (("ENODEV",), "getinfo", "user", "-", 0)):
            with self.subTest(op=op, kind=kind, where=where, id=ident):
                self.assertIn(self.caller(ctid, "call", op, kind, where, ident), expected)
        self.assertIn(self.caller(ctid, "foreign"), ("EPERM", "ENOSYS"))
        # the node that tools look for cannot be used
        self.inside(ctid, f"test -b {special}")
        for use in (f"dd if={special} of=/dev/null bs=1 count=1", f"dd if=/dev/zero of={special} bs=1 count=0 conv=notrunc",
                    f"chmod 666 {special}", f"chown 0 {special}", f"rm {special}", f"mount {special} /mnt"):
            self.assertNotEqual(vzctl("exec2", ctid, use).rc, 0, use)

    def test_hostile_callers(self):
        ctid = self.start_forced()
        special = self.special(ctid)
        pid = vzd_pid()
        self.assertIsNotNone(pid)
        self.caller(ctid, "garbage", special, check=None)
        self.caller(ctid, "race", 200, special, check=None)
        self.assertEqual(self.caller(ctid, "die", 100, special), "100 died")
        self.caller(ctid, "parallel", 100, special, check=None)
        self.assertEqual(vzd_pid(), pid, "vzd is another one")
        self.assertIn(self.caller(ctid, "call", "getinfo", "user", special, 0), THROUGH)

    def test_listeners_go_with_their_callers(self):
        ctid = self.start_forced()
        files = lambda: sorted(p.name for p in pathlib.Path(f"/run/vz/{ctid}").glob("quota.*"))
        for _ in range(3):
            self.inside(ctid, "true")
        wait_for(lambda: files() == ["quota.0"], what="listeners of commands that ended are closed")
        vzctl("stop", ctid, "--fast", check=0)
        self.assertFalse(pathlib.Path(f"/run/vz/{ctid}").exists())

    def test_vzd_that_dies_hangs_nobody(self):
        ctid = self.start_forced()
        special = self.special(ctid)
        # a child of a command that has ended: only vzd has its listener
        self.inside(ctid, f": > /answers; caller loop {special} > /answers 2>&1 < /dev/null &")
        init = json.loads(pathlib.Path(f"/run/vz/{ctid}/state.json").read_text())["init"]["pid"]
        answers = lambda: pathlib.Path(f"/proc/{init}/root/answers").read_text().split()  # without a new vzd
        wait_for(answers, what="an answer")
        first = answers()
        self.assertIn(first[0], THROUGH)
        os.kill(vzd_pid(), signal.SIGKILL)
        wait_for(lambda: answers()[-1] == "ENOSYS", what="ENOSYS without vzd")
        self.assertIn(self.caller(ctid, "call", "getinfo", "user", special, 0), THROUGH)  # with a new vzd
        vzctl("restart", ctid, "--force", check=0)
        self.assertIn(self.caller(ctid, "call", "getinfo", "user", self.special(ctid), 0), THROUGH)


if __name__ == "__main__":
    vzhost.main()

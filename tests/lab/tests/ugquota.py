#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Quotas of users inside: Debian's quota package in a Debian container, hostile callers, vzd that dies, both layouts."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import unittest

import labguest
import vzhost
from labguest import SYSTEMD
from vzhost import run, vzctl, vzlist, wait_for

TOOLS = ("quota", "setquota", "edquota", "repquota", "warnquota", "quotaon", "quotaoff")
CALLER = pathlib.Path("/var/tmp/quota_caller")
LIB = pathlib.Path("/var/lib/vz")
DISK = pathlib.Path("/dev/vdb")


def setUpModule():
    labguest.install()
    vzhost.debian_template()
    run(["gcc", "-O1", "-Wall", "-static", "-pthread", vzhost.SOURCE / "tests/support/quota_caller.c", "-o", CALLER], check=0)
    if SYSTEMD:
        run(["systemctl", "restart", "vzd.service"], check=0)


def tearDownModule():
    if SYSTEMD:
        run(["systemctl", "stop", "vzd.service"])
    else:
        vzhost.stop_vzd()


def vzd_pid():
    try:
        pid = int(pathlib.Path("/run/vz/vzd.pid").read_text())
        os.kill(pid, 0)
        return pid
    except (OSError, ValueError):
        return None


def libraries(program):
    """Files that the dynamic loader takes for a program."""
    return {line.split("=>")[1].split()[0] for line in run(["ldd", program]).out.splitlines() if "=> /" in line}


class Case(vzhost.HostTest):
    def make(self, *options, users=("alice", "bob"), start=True):
        """A container with Debian's quota package, as this guest has it: its files, no database of packages."""
        ctid = self.create("--quotaugidlimit", "100", *options, template=vzhost.DEBIAN, diskspace="512M" if not options else
                           "unlimited")
        vzctl("mount", ctid, check=0)
        root = pathlib.Path("/var/lib/vz/root") / str(ctid)
        base = os.stat(root).st_uid
        for tool in TOOLS:
            program = pathlib.Path(shutil.which(tool))
            self.put(program, root, base)
            for library in libraries(program):
                if not (root / library.lstrip("/")).exists():
                    self.put(pathlib.Path(library).resolve(), root, base, name=library)
        for file in ("/etc/warnquota.conf", "/etc/quotatab"):
            self.put(pathlib.Path(file), root, base)
        self.put(CALLER, root, base, name="/usr/bin/quota_caller")
        vzctl("umount", ctid, check=0)
        if start:
            vzctl("start", ctid, "--wait", check=0)
            for user in users:
                self.inside(ctid, f"useradd -m {user}")
        return ctid

    @staticmethod
    def put(source, root, base, name=None):
        target = root / (name or str(source)).lstrip("/")
        # /lib and /bin are links inside
        target = root / os.path.relpath(target.parent.resolve(), root) / target.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        os.chown(target, base, base)

    def special(self, ctid):
        return self.inside(ctid, "awk '$2 == \"/\" {print $1}' /proc/self/mounts").split()[-1]

    def caller(self, ctid, *args, check=0, user=None):
        command = f"quota_caller {' '.join(map(str, args))}"
        return self.inside(ctid, f"su {user} -c '{command}'" if user else command, check=check).strip()

    def quota(self, ctid, *args, **kw):
        return vzctl("quota", ctid, *args, **kw)

    def entry(self, ctid, kind, name):
        report = json.loads(self.quota(ctid, "report", "--json", check=0).out)
        return next((q for q in report[kind]["quotas"] if q["name"] == name), None)

    def write(self, ctid, user, path, mib):
        return run([vzhost.BIN / "vzctl", "exec2", ctid, f"su {user} -c 'dd if=/dev/zero of={path} bs=1M count={mib}' 2>&1"])


class Tools(Case):
    @classmethod
    def setUpClass(cls):
        cls.ctid = None

    def setUp(self):
        # One container for all of them: each has a user of its own.
        if Tools.ctid is None:
            Tools.ctid = self.make()
            self._cleanups.clear()
            Tools.addClassCleanup(self.wipe, Tools.ctid)
        self.ct = Tools.ctid

    def new_user(self, name):
        self.inside(self.ct, f"id {name} 2>/dev/null || useradd -m {name}")
        return int(self.inside(self.ct, f"id -u {name}"))

    def test_limits_bite(self):
        self.new_user("carol")
        self.inside(self.ct, "setquota -u carol 1024 2048 20 30 /")
        tried = self.write(self.ct, "carol", "/home/carol/big", 4)
        self.assertNotEqual(tried.rc, 0)
        self.assertIn("Disk quota exceeded", tried.out)
        size = int(self.inside(self.ct, "du -k /home/carol/big").split()[0])
        self.assertLessEqual(size, 2048)
        self.assertGreaterEqual(size, 1024)  # a kernel with large folios writes all of a megabyte or nothing
        files = self.inside(self.ct, "su carol -c 'cd; for i in $(seq 40); do : > f$i || break; done' 2>&1; ls ~carol | wc -l",
                            check=None)
        self.assertIn("Disk quota exceeded", files)
        self.assertLessEqual(int(files.split()[-1]), 30)
        # root inside and others are not concerned
        self.inside(self.ct, "dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null && rm /big")
        self.assertEqual(self.write(self.ct, "bob", "/home/bob/big", 4).rc, 0)

    def test_group_limits_bite(self):
        self.new_user("dave")
        self.inside(self.ct, "setquota -g dave 0 1024 0 0 /")
        self.assertIn("Disk quota exceeded", self.write(self.ct, "dave", "/home/dave/big", 4).out)

    def test_quota_and_repquota_show_it(self):
        self.new_user("erin")
        self.inside(self.ct, "setquota -u erin 5000 6000 70 80 /")
        table = self.inside(self.ct, "repquota -a")
        self.assertRegex(table, r"(?m)^erin +-- +\d+ +5000 +6000 +\d+ +70 +80")
        self.assertRegex(table, r"(?m)^root +-- +\d+ +0 +0")
        self.assertIn("Block grace time: 7days", table)
        self.assertRegex(self.inside(self.ct, "repquota -ag"), r"(?m)^erin ")
        # the user's own, without privileges
        own = self.inside(self.ct, "su erin -c 'quota -v'")
        self.assertRegex(own, r"5000 +6000")
        self.assertRegex(self.inside(self.ct, "quota -u erin"), r"5000 +6000")

    def test_edquota(self):
        self.new_user("frank")
        self.inside(self.ct, "printf '#!/bin/sh\\nsed -i \"s/ 0 *0 / 111 222 /\" \"$1\"\\n' > /edit; chmod +x /edit; "
                             "EDITOR=/edit edquota -u frank; edquota -p frank -u bob")
        for user in ("frank", "bob"):
            found = self.entry(self.ct, "user", user)
            self.assertEqual((found["space_soft"], found["space_hard"]), (111 * 1024, 222 * 1024), user)
        self.inside(self.ct, "setquota -u bob 0 0 0 0 /")

    def test_warnquota(self):
        self.new_user("grace")
        self.inside(self.ct, "setquota -u grace 1024 8192 0 0 /")
        self.assertEqual(self.write(self.ct, "grace", "/home/grace/big", 3).rc, 0)
        self.inside(self.ct, "sed -i 's,^MAIL_CMD.*,MAIL_CMD = \"cat >> /mails\",' /etc/warnquota.conf; warnquota -u")
        self.assertRegex(self.inside(self.ct, "cat /mails"), r"(?s)grace.*\+?3\d\d\d.*1024.*8192")

    def test_the_host_sees_and_sets_the_same(self):
        uid = self.new_user("heidi")
        self.inside(self.ct, "setquota -u heidi 1000 2000 30 40 /")
        found = self.entry(self.ct, "user", "heidi")
        self.assertEqual((found["id"], found["space_soft"], found["space_hard"], found["inodes_soft"], found["inodes_hard"]),
                         (uid, 1000 * 1024, 2000 * 1024, 30, 40))
        self.quota(self.ct, "user", "heidi", "--blocks", "3M:4M", check=0)
        self.assertRegex(self.inside(self.ct, "quota -u heidi"), r"3072 +4096 .* 30 +40")
        self.assertRegex(self.quota(self.ct, "report", check=0).out, r"(?m)^user +%d heidi " % uid)
        refused = self.quota(self.ct, "user", "nobody-there", "--blocks", "1M")
        self.assertEqual(refused.rc, 21)
        self.assertEqual(self.quota(self.ct, "user", "heidi", "--blocks", "5M:4M").rc, 21)
        self.assertEqual(self.quota(self.ct, "user", "65536", "--blocks", "5M").rc, 21)

    def test_what_is_refused(self):
        self.new_user("ivan")
        special = self.special(self.ct)
        uid = int(self.inside(self.ct, "id -u ivan"))
        for expected, op, kind, where, ident in (
                ("0", "getinfo", "user", special, 0), ("0", "getinfo", "user", "/", 0),
                ("0", "getquota", "group", special, 65535), ("EPERM", "getquota", "user", special, 65536),
                ("EPERM", "setquota", "user", special, 65536), ("EPERM", "setquota", "user", "/", 0xffffffff),
                ("ENOENT", "getnext", "user", special, 65536), ("EPERM", "setusage", "user", special, 1),
                ("EPERM", "getquota", 2, special, 0), ("EPERM", "setquota", 2, "/", 0), ("EPERM", "getnext", 2, "/", 0),
                ("EPERM", "setinfo", 2, "/", 0), ("EINVAL", "getquota", 3, special, 0),
                ("EPERM", "quotaon", "user", special, 2), ("EPERM", "quotaoff", "user", special, 0),
                ("EPERM", "quotaoff", "group", "/", 0), ("EPERM", "xquotaoff", "user", special, 0),
                ("EINVAL", "unknown", "user", special, 0), ("ENODEV", "getquota", "user", "/dev/null", 0),
                ("ENODEV", "getquota", "user", "/dev/vda", 0), ("ENODEV", "getquota", "user", "-", 0),
                ("0", "sync", "user", "-", 0), ("0", "xgetqstat", "user", special, 0), ("0", "xsetqlim", "user", special, 1),
        ):
            with self.subTest(op=op, kind=kind, where=where, id=ident):
                self.assertEqual(self.caller(self.ct, "call", op, kind, where, ident), expected)
        # nobody but root, and for oneself
        for expected, op, ident in ((str("0"), "getquota", uid), ("EPERM", "getquota", 0), ("EPERM", "setquota", uid),
                                    ("EPERM", "getnext", 0), ("EPERM", "setinfo", 0), ("0", "getfmt", 0)):
            with self.subTest(user="ivan", op=op, id=ident):
                self.assertEqual(self.caller(self.ct, "call", op, "user", special, ident, user="ivan"), expected)
        off = self.inside(self.ct, "quotaoff -a 2>&1", check=None)
        self.assertIn("Operation not permitted", off)
        self.inside(self.ct, "setquota -u ivan 0 100 0 0 /")
        self.assertIn("Disk quota exceeded", self.write(self.ct, "ivan", "/home/ivan/x", 1).out)

    def test_another_file_system_is_not_reached_by_descriptor(self):
        # proc, not the root; and a descriptor of the host cannot be had inside
        self.assertEqual(self.inside(self.ct, "cd /proc && ls -d /proc >/dev/null; quota_caller call getquota user /dev/pts 0"),
                         "ENODEV\n")

    def test_32_bit_calls_are_refused(self):
        self.assertIn(self.caller(self.ct, "foreign"), ("EPERM", "ENOSYS"))

    def test_events(self):
        self.new_user("judy")
        before = self.counts()
        self.inside(self.ct, "setquota -u judy 1024 2048 0 0 /")
        self.write(self.ct, "judy", "/home/judy/big", 4)
        after = wait_for(lambda: self.counts() if self.counts()["hard"] > before["hard"] else None, what="events")
        self.assertGreater(after["soft"], before["soft"])
        if SYSTEMD:
            uid = int(self.inside(self.ct, "id -u judy"))
            lines = run(["journalctl", "-u", "vzd.service", "--no-pager"]).out
            self.assertRegex(lines, rf"CT {self.ct}: user {uid}: hard limit of disk space reached")
            self.assertRegex(lines, rf"CT {self.ct}: user {uid}: soft limit of disk space exceeded")

    def counts(self):
        text = vzctl("metrics", check=0).out
        found = re.findall(rf'vz_quota_events_total{{ctid="{self.ct}",event="(\w+)"}} (\d+)', text)
        return {event: int(count) for event, count in found}

    def test_vzquota_answers_old_scripts(self):
        out = run([vzhost.BIN / "vzquota", "stat", self.ct, "-t"], check=0).out
        self.assertRegex(out, r"^   resource          usage       softlimit      hardlimit    grace\n"
                              r"  1k-blocks +\d+ +524288 +524288\n     inodes +\d+ +\d+ +\d+\n")
        self.assertRegex(out, r"(?m)^0 +user +1k-blocks +\d+ ")
        for word in ("quotaon", "quotaoff", "quotainit"):
            self.assertIn("disk quota is obsoleted", vzctl(word, self.ct, check=0).out)
        for word in ("on", "off", "init", "drop"):
            run([vzhost.BIN / "vzquota", word, self.ct], check=0)

    def test_hostile_callers(self):
        special = self.special(self.ct)
        pid = vzd_pid()
        self.assertEqual(self.caller(self.ct, "garbage", special), "0 wrong")
        self.assertRegex(self.caller(self.ct, "race", 300, special), r"[1-9]\d* done, [1-9]\d* refused, 0 other")
        self.assertEqual(self.caller(self.ct, "die", 60, special), "60 died")
        self.assertEqual(self.caller(self.ct, "parallel", 100, special), "0 bad")
        self.assertEqual(vzd_pid(), pid, "vzd is another one")
        # the usage is what is on the disk, whatever the race tried to make of it
        self.assertEqual(self.inside(self.ct, "quota_caller call getquota user %s 4242" % special).strip(), "0")
        report = json.loads(self.quota(self.ct, "report", "--json", check=0).out)
        raced = next(q for q in report["user"]["quotas"] if q["id"] == 4242)
        self.assertEqual(raced["space"], 0)


class Life(Case):
    @staticmethod
    def init(ctid):
        return json.loads(pathlib.Path(f"/run/vz/{ctid}/state.json").read_text())["init"]["pid"]

    def test_limits_and_grace_survive(self):
        ctid = self.make()
        self.inside(ctid, "setquota -u alice 1024 2048 30 40 /; setquota -t 3600 7200 /; setquota -g bob 11 22 0 0 /")
        self.assertEqual(self.write(ctid, "alice", "/home/alice/big", 1).rc, 0)
        self.inside(ctid, "su alice -c 'dd if=/dev/zero of=/home/alice/more bs=1k count=400' 2>&1")
        until = self.entry(ctid, "user", "alice")["space_until"]
        self.assertGreater(until, 0)
        vzctl("stop", ctid, check=0)
        stopped = self.entry(ctid, "user", "alice")
        self.assertEqual((stopped["space_soft"], stopped["inodes_hard"], stopped["space_until"]), (1 << 20, 40, until))
        report = json.loads(self.quota(ctid, "report", "--json", check=0).out)
        self.assertEqual((report["user"]["space_grace"], report["user"]["inodes_grace"]), (3600, 7200))
        # set while it is stopped
        self.quota(ctid, "user", "bob", "--blocks", "100", "--inodes", "9", check=0)
        vzctl("start", ctid, "--wait", check=0)
        self.assertRegex(self.inside(ctid, "repquota -a"), r"(?m)^bob +-- +\d+ +100 +100 +\d+ +9 +9")
        self.assertIn("Disk quota exceeded", self.write(ctid, "bob", "/home/bob/x", 1).out)
        self.assertIn("Disk quota exceeded", self.write(ctid, "alice", "/home/alice/x", 2).out)
        self.quota(ctid, "grace", "--blocks", "60", check=0)
        self.assertIn("Block grace time: 00:01", self.inside(ctid, "repquota -a"))

    def test_off(self):
        ctid = self.make()
        self.inside(ctid, "setquota -u alice 0 1024 0 0 /")
        needs = vzctl("set", ctid, "--quotaugidlimit", "0", "--save", "--setmode", "ignore")
        self.assertEqual(needs.rc, 32, repr(needs))
        vzctl("stop", ctid, check=0)
        vzctl("set", ctid, "--quotaugidlimit", "0", "--save", check=0)
        vzctl("start", ctid, "--wait", check=0)
        self.assertEqual(self.caller(ctid, "call", "getinfo", "user", "/", 0), "EPERM")
        self.assertEqual(self.write(ctid, "alice", "/home/alice/x", 3).rc, 0)
        # what was written meanwhile counts when they are on again
        vzctl("stop", ctid, check=0)
        vzctl("set", ctid, "--quotaugidlimit", "5", "--save", check=0)
        vzctl("start", ctid, "--wait", check=0)
        self.assertIn("Disk quota exceeded", self.write(ctid, "alice", "/home/alice/y", 1).out)

    def test_vzd_that_dies_hangs_nobody(self):
        ctid = self.make()
        special = self.special(ctid)
        # under the filter of init, not of a vzctl exec
        self.inside(ctid, f": > /answers; systemd-run --unit caller sh -c 'quota_caller loop {special} > /answers'")
        # not by vzctl exec, which brings a vzd where there is none
        answers = lambda: pathlib.Path(f"/proc/{self.init(ctid)}/root/answers").read_text().split()
        wait_for(lambda: answers() == ["0"], what="answers")
        for _ in range(3):
            old = vzd_pid()
            os.kill(old, signal.SIGKILL)
            if SYSTEMD:
                wait_for(lambda: vzd_pid() not in (None, old), what="a new vzd")
            # at once, whatever the answer is
            asked = vzctl("exec2", ctid, f"timeout 20 quota_caller call getinfo user {special} 0", timeout=60)
            self.assertEqual((asked.rc, asked.out), (0, "0\n"), repr(asked))
        if SYSTEMD:
            self.assertEqual(answers(), ["0"], "a caller has noticed")
            done = self.inside(ctid, "systemd-run --wait -P timeout 20 repquota -a")
            self.assertRegex(done, r"(?m)^root ")
            # a vzd that is stopped for good: no answer, at once
            run(["systemctl", "stop", "vzd.service"], check=0)
            wait_for(lambda: answers() == ["0", "ENOSYS"], what="ENOSYS without vzd")
            run(["systemctl", "start", "vzd.service"], check=0)
        else:
            wait_for(lambda: answers() == ["0", "ENOSYS"], what="ENOSYS without vzd")
        vzctl("restart", ctid, "--wait", check=0)
        done = self.inside(ctid, "systemd-run --wait -P timeout 20 repquota -a")
        self.assertRegex(done, r"(?m)^root ")

    def test_a_stopped_vzd_lets_callers_be_killed(self):
        ctid = self.make(users=())
        special = self.special(ctid)
        self.inside(ctid, f": > /answers; systemd-run --unit caller sh -c 'quota_caller loop {special} > /answers'")
        wait_for(lambda: "0" in self.inside(ctid, "cat /answers; true"), what="answers")
        pid = vzd_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            self.inside(ctid, "systemctl stop caller", timeout=120)
            self.inside(ctid, f"timeout -s KILL 3 quota_caller call getinfo user {special} 0", check=137)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.caller(ctid, "call", "getinfo", "user", special, 0), "0")


class Dir(Case):
    """The container's own ids on a file system of the host."""

    @classmethod
    def setUpClass(cls):
        if not DISK.exists():
            raise unittest.SkipTest("needs --disks 1")
        (LIB / "private").mkdir(parents=True, exist_ok=True)
        run(["mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota", DISK], check=0)
        run(["mount", "-o", "usrquota,grpquota,prjquota", DISK, LIB / "private"], check=0)
        cls.addClassCleanup(run, ["umount", "-l", LIB / "private"])

    def test_containers_do_not_meet(self):
        first, second = (self.make("--layout", "dir", "--diskinodes", "unlimited") for _ in range(2))
        self.inside(first, "setquota -u alice 0 1024 0 0 /")
        self.assertIn("Disk quota exceeded", self.write(first, "alice", "/home/alice/x", 3).out)
        self.assertEqual(self.write(second, "alice", "/home/alice/x", 3).rc, 0)
        table = self.inside(second, "repquota -a")
        self.assertRegex(table, r"(?m)^alice +-- +\d+ +0 +0")
        self.assertNotRegex(table, r"(?m)^#", "an id of the host or of a neighbour")
        special = self.special(first)
        # what is the whole file system's
        for op, expected in (("setinfo", "EPERM"), ("getinfo", "0"), ("setquota", "0"), ("quotaoff", "EPERM")):
            self.assertEqual(self.caller(first, "call", op, "user", special, 0), expected, op)
        self.assertEqual(self.caller(first, "call", "getnext", "user", special, 0), "0")
        self.assertEqual(self.quota(first, "grace", "--blocks", "60").rc, 172)
        self.assertEqual(self.entry(first, "user", "alice")["space_hard"], 1 << 20)
        self.assertEqual(self.entry(second, "user", "alice")["space_hard"], 0)

    def test_refused_without_quotas_of_the_host(self):
        run(["mount", "-t", "tmpfs", "none", LIB / "private"], check=0)
        self.addCleanup(run, ["umount", "-l", LIB / "private"])
        ctid = self.create("--quotaugidlimit", "1", "--layout", "dir", "--diskinodes", "unlimited", diskspace="unlimited")
        refused = vzctl("start", ctid)
        self.assertEqual(refused.rc, 172, repr(refused))
        self.assertRegex(refused.err, r"(?s)--quotaugidlimit cannot be enforced.*usrquota,grpquota")
        started = vzctl("start", ctid, "--force", check=0)
        self.assertIn("going on without it", started.err)


if __name__ == "__main__":
    labguest.main(private=False)

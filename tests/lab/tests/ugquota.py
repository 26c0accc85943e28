#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Quotas of users inside: Debian's quota package in a Debian container, hostile callers, vzd that dies. What a file system has to
do with it is in ugquota_layouts.py."""
import json
import os
import pathlib
import re
import signal

import labguest
import labquota
import vzhost
from labguest import SYSTEMD
from labquota import Case
from vzhost import run, vzctl, vzd_pid, wait_for


def setUpModule():
    labquota.install()
    vzhost.debian_template()
    labquota.start_vzd()


def tearDownModule():
    labquota.end_vzd()


class Tools(Case):
    @classmethod
    def setUpClass(cls):
        cls.ctid = None

    def setUp(self):
        # One container for all of them: each has a user of its own.
        if Tools.ctid is None:
            Tools.ctid = self.make_debian()
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
        self.inside(self.ct, "printf '#!/bin/sh\\nsed -i \"s/ 0 *0 / 111 222 /\" \"$1\"; touch -d 2040-01-01 \"$1\"\\n' > /edit; chmod +x /edit; "
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

    def test_vzd_that_dies_hangs_nobody(self):
        ctid = self.make_debian(users=())
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
        ctid = self.make_debian(users=())
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


if __name__ == "__main__":
    labguest.main(private=False)

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/user_beancounters, /proc/bc and /proc/vz as vzctl sets them up: on the host, in containers, switched off."""
import os
import pathlib
import re
import unittest

import labguest
import vzhost
from labguest import scope, set_
from vzhost import BUILD, run, vzctl, wait_for

MODULE = BUILD / "kmod" / os.uname().release / "vz.ko"
NAMES = ("user_beancounters", "bc", "vz")
UNLIMITED = (1 << 63) - 1


def rows(text, uid):
    """{row: (held, maxheld, barrier, limit, failcnt)} of one container."""
    found, current = {}, None
    for line in text.splitlines()[2:]:
        current = int(line[:10].strip(" :")) if line[:10].strip() else current
        if current == uid:
            words = line[11:].split()
            found[words[0]] = tuple(map(int, words[1:]))
    return found


def host_rows(ctid):
    return rows(pathlib.Path("/proc/user_beancounters").read_text(), ctid)


class Shown(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        if not MODULE.exists():
            raise unittest.SkipTest(f"no {MODULE}: tests/lab/kmod KERNEL builds it")
        if not pathlib.Path("/sys/module/vz").exists():
            run(["insmod", MODULE], check=0)
        vzctl("vswap", "start", "--size", "256M", check=0)

    def exist_inside(self, ctid):
        return self.inside(ctid, "for n in " + " ".join(NAMES) + "; do [ -e /proc/$n ] && echo $n; done; true").split()

    def test_on_the_host(self):
        for name in NAMES:
            self.assertTrue(pathlib.Path("/proc", name).exists())
        ctid = self.start()
        self.assertIn("physpages", host_rows(ctid))
        self.assertTrue(pathlib.Path(f"/proc/bc/{ctid}/resources").exists())
        vzctl("stop", ctid, "--fast", check=0)
        self.assertEqual(host_rows(ctid), {})
        self.assertFalse(pathlib.Path(f"/proc/bc/{ctid}").exists())
        self.assertIn("kmemsize", host_rows(0))

    def test_inside(self):
        ctid, other = self.start("--ram", "64M", "--swap", "32M", "--numproc", "77"), self.start()
        self.assertEqual(self.exist_inside(ctid), ["user_beancounters", "vz"])
        text = self.inside(ctid, "cat /proc/user_beancounters")
        self.assertTrue(text.startswith("Version: 2.5\n"))
        self.assertEqual(rows(text, other), {})
        own = rows(text, ctid)
        self.assertEqual(own["physpages"][3], 16384)
        self.assertEqual(own["numproc"][2:4], (77, 77))
        self.assertEqual(self.inside(ctid, "stat -L -c '%u %g %a' /proc/user_beancounters /proc/vz/veinfo").splitlines(),
                         ["0 0 400"] * 2)
        self.assertEqual(self.inside(ctid, "ls /proc/vz").split(), ["veinfo", "version", "vestat", "vswap"])
        self.assertRegex(self.inside(ctid, "cat /proc/vz/veinfo"), rf"\A *{ctid} +2 +\d+\n\Z")
        self.assertEqual(len(self.inside(ctid, "cat /proc/vz/vestat").splitlines()), 3)
        self.inside(ctid, "echo 1 > /proc/user_beancounters", check=1)

    def test_only_its_root_reads(self):
        ctid = self.start()
        pid = (scope(ctid) / "ct" / "init" / "cgroup.procs").read_text().split()[0] if (
            scope(ctid) / "ct" / "init" / "cgroup.procs").exists() else next(
            path.read_text().split()[0] for path in scope(ctid).rglob("cgroup.procs") if path.read_text().strip())
        base = int(pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()[1])
        path = f"/proc/{pid}/root/proc/user_beancounters"
        self.assertEqual(os.stat(path).st_uid, base)
        script = ("import os, sys; pid, uid = map(int, sys.argv[1:]); "
                  "os.setns(os.open(f'/proc/{pid}/ns/mnt', os.O_RDONLY), os.CLONE_NEWNS); "
                  "os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid); "
                  "print(open('/proc/user_beancounters').readline())")
        for uid, allowed in ((base, True), (base + 1000, False), (65534, False)):
            found = run(["python3", "-c", script, pid, uid])
            self.assertEqual(found.rc == 0, allowed, repr(found))
            self.assertTrue(allowed or "PermissionError" in found.err, repr(found))

    def test_switched_off(self):
        ctid = self.start("--features", "ubc:off")
        self.assertEqual(self.exist_inside(ctid), [])
        self.assertNotIn("fs/vz", self.inside(ctid, "cat /proc/mounts"))
        self.assertIn("physpages", host_rows(ctid))
        self.assertIn("vzfs", self.inside(ctid, "df /proc/meminfo; cat /proc/mounts"))
        config = pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()
        self.assertIn('FEATURES="ubc:off"', config)
        set_(ctid, "--features", "ubc:on", check=0)
        self.assertEqual(self.exist_inside(ctid), [])
        vzctl("restart", ctid, "--fast", check=0)
        self.assertEqual(self.exist_inside(ctid), ["user_beancounters", "vz"])
        self.assertNotEqual(vzctl("create", self.new_id(), "--ostemplate", vzhost.busybox_template(), "--features",
                                  "ubc:maybe").rc, 0)

    def test_addresses(self):
        ctid = self.start("--ipadd", "10.11.12.13", "--ipadd", "fd00::5")
        line = lambda: next(l for l in pathlib.Path("/proc/vz/veinfo").read_text().splitlines() if int(l[:10]) == ctid)  # noqa: E731
        self.assertEqual(line()[22:], "     10.11.12.13 fd00:0000:0000:0000:0000:0000:0000:0005")
        set_(ctid, "--ipdel", "10.11.12.13", check=0)
        self.assertEqual(line()[22:], " fd00:0000:0000:0000:0000:0000:0000:0005")
        set_(ctid, "--ipadd", "10.11.12.14", check=0)
        self.assertIn("    10.11.12.14", line())
        self.assertEqual(self.inside(ctid, "cat /proc/vz/veinfo").split()[3:], line().split()[3:])

    def test_what_programs_count(self):
        if not pathlib.Path("/sys/fs/bpf/vz/1/vz_ub").exists():
            self.skipTest("no BPF programs that count")
        ctid = self.start("--numfile", "120")
        own = rows(self.inside(ctid, "cat /proc/user_beancounters"), ctid)
        self.assertEqual(own["numfile"][2:4], (120, 120))
        self.assertGreater(own["numfile"][0], 0)
        vzctl("exec2", ctid, "i=3; while [ $i -lt 200 ]; do eval \"exec $i</dev/null\" || exit 1; i=$((i+1)); done")
        own = rows(self.inside(ctid, "cat /proc/user_beancounters"), ctid)
        self.assertGreater(own["numfile"][4], 0)
        self.assertLessEqual(own["numfile"][1], 120)
        self.assertEqual(host_rows(ctid)["numfile"][4], own["numfile"][4])
        for name in ("privvmpages", "numothersock"):
            self.assertGreater(own[name][0] + own[name][1], 0, name)

    def test_systemd_inside(self):
        """It boots as it does without, and takes what it sees for what it is."""
        ctid = self.create(template=vzhost.debian_template(), diskspace="2G")
        vzctl("start", ctid, "--wait", check=0, timeout=600)
        self.assertEqual(self.inside(ctid, "systemd-detect-virt --container"), "openvz\n")
        self.assertEqual(self.inside(ctid, "systemctl --failed --no-legend --plain").strip(), "")
        self.assertEqual(rows(self.inside(ctid, "cat /proc/user_beancounters"), ctid)["numproc"][4], 0)

    def test_zz_stop(self):
        vzctl("vswap", "stop", check=0)
        for name in NAMES:
            self.assertFalse(pathlib.Path("/proc", name).exists())
            self.assertTrue(os.path.lexists(f"/proc/{name}"))
        ctid = self.start()
        self.assertEqual(self.exist_inside(ctid), ["user_beancounters", "vz"])
        vzctl("stop", ctid, "--fast", check=0)
        run([BUILD / "bpf" / "vz-bpf", "unload"])
        wait_for(lambda: run(["rmmod", "vz"]).rc == 0, 60, "the end of vz.ko")
        self.assertFalse(os.path.lexists("/proc/vz"))
        bad = [line for line in run(["dmesg"]).out.splitlines() if re.search(r"BUG: |WARNING: |Oops", line) and "WATCHDOG" not in line]
        self.assertEqual(bad, [])


if __name__ == "__main__":
    labguest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of vzctl set and vzctl start with the BPF programs loaded, and tests/host/beancounters.py once more with them.

What the programs count is tested in ub.py; here it is libvz that tells them, and the tools that show it.
"""
import pathlib
import subprocess
import sys
import unittest

import labguest
import vzbpf
import vzhost
from vzhost import run, vzctl

sys.path.insert(0, str(vzhost.SOURCE / "tests" / "host"))
from beancounters import Held, Inside, Limits, Python, Small, Vzubc, held, init_of, limited, rows, tool  # noqa: E402,F401

BEYOND = 40  # more than any limit here leaves


def setUpModule():
    loaded = vzbpf.vz_bpf("load")
    if not pathlib.Path(vzbpf.PINS, "vz_ub").exists():
        raise unittest.SkipTest(f"the programs are not loaded: {loaded.out} {loaded.err}")


def tries(code, count=BEYOND):
    """A program that does `code` until it fails; it says how often it went well, and with what it ended."""
    return ("keep=[]\ndone=0\nend=''\n"
            f"def one(i):\n  {code}\n"
            f"try:\n  for i in range({count}):\n    keep.append(one(i))\n    done+=1\n"
            "except OSError as e: end=errno.errorcode[e.errno]\nprint(done,end,flush=True)")


class Refused(vzhost.HostTest):
    """A limit of N over what is held: N more, and then the error that the table says."""

    def attempt(self, ctid, code, count=BEYOND):
        inside = Inside.__new__(Inside)
        program = tries(code, count)
        # What is imported inside would stay open as long as it is mapped, and count.
        inside.process = subprocess.Popen([sys.executable, "-c", "import os,sys,errno,socket,fcntl,tempfile\n"
                                           "tempfile.TemporaryFile(dir='/dev/shm')\nsys.stdin.readline()\n" + program +
                                           "\nsys.stdin.readline()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(inside.end)
        inside.join(ctid)
        inside.process.stdin.write("\n")
        inside.process.stdin.flush()
        words = inside.process.stdout.readline().split()
        return inside, int(words[0]), words[1] if len(words) > 1 else ""

    def settled(self, ctid, name):
        """The row when the container's own services have opened what they open."""
        seen = []

        def unchanged():
            seen.append(rows(ctid)[name])
            return len(seen) > 10 and all(row["held"] == seen[-1]["held"] for row in seen[-10:])

        vzhost.wait_for(unchanged, what=f"{name} of {ctid} not to change any more")
        return seen[-1]

    def exact(self, name, code, error, room=10):
        if not limited(name):
            self.skipTest(vzhost.feature(f"ub.{name}")["detail"])
        ctid = self.start()
        before = self.settled(ctid, name)
        vzctl("set", ctid, f"--{name}", str(before["held"] + room), check=0)
        inside, done, end = self.attempt(ctid, code)
        self.assertEqual((done, end), (room, error))
        after = rows(ctid)[name]
        self.assertEqual(after["failcnt"], before["failcnt"] + 1)
        self.assertEqual(after["held"], before["held"] + room)
        self.assertEqual(after["maxheld"], before["held"] + room)
        vzctl("set", ctid, f"--{name}", "unlimited", check=0)
        other, done, end = self.attempt(ctid, code)
        self.assertEqual((done, end), (BEYOND, ""))
        for program in (inside, other):
            program.end()
        vzhost.wait_for(lambda: held(ctid, name) == before["held"], what=f"{name} to be given back")

    def test_files(self):
        """Not exact, as the container's own services open files meanwhile; that it is exact is shown by lab/ub."""
        if not limited("numfile"):
            self.skipTest(vzhost.feature("ub.numfile")["detail"])
        ctid = self.start()
        before = self.settled(ctid, "numfile")
        limit = before["held"] + 20
        vzctl("set", ctid, "--numfile", str(limit), check=0)
        _, done, end = self.attempt(ctid, "return open('/dev/null')")
        self.assertEqual(end, "ENFILE")
        self.assertIn(done, range(1, 21))
        after = rows(ctid)["numfile"]
        self.assertGreater(after["failcnt"], before["failcnt"])
        self.assertLessEqual(after["maxheld"], limit)
        vzctl("set", ctid, "--numfile", "unlimited", check=0)
        self.assertEqual(self.attempt(ctid, "return open('/dev/null')")[1:], (BEYOND, ""))

    def test_tcp_sockets(self):
        self.exact("numtcpsock", "return socket.socket()", "ENOBUFS")

    def test_other_sockets(self):
        self.exact("numothersock", "return socket.socket(socket.AF_INET,socket.SOCK_DGRAM)", "ENOBUFS")

    def test_locks(self):
        self.exact("numflock", "f=tempfile.TemporaryFile(dir='/dev/shm')\n  fcntl.flock(f,fcntl.LOCK_EX)\n  return f", "ENOLCK")

    def test_terminals(self):
        self.exact("numpty", "return os.open('/dev/ptmx',os.O_RDWR|os.O_NOCTTY)", "ENOSPC")


class Start(vzhost.HostTest):
    def test_limits_of_the_file_hold_from_the_first_task_on(self):
        if not limited("numfile"):
            self.skipTest("numfile is not limited here")
        ctid = self.create("--numfile", "1:1", "--numtcpsock", "5:5")
        failed = vzctl("start", ctid, "--wait")
        self.assertNotEqual(failed.rc, 0, "one file is not enough for any init")
        vzctl("stop", ctid, "--fast")
        vzctl("set", ctid, "--numfile", "3000:3000", "--save", check=0)
        started = vzctl("start", ctid, check=0)
        self.assertNotIn("not enforced", started.err)
        conf = vzbpf.Map("vz_ub_conf", "=50Q").get((labguest.scope(ctid) / "ct").stat().st_ino)
        self.assertEqual((conf[19], conf[25 + 19], conf[9]), (3000, 3000, 5))
        self.assertGreater(rows(ctid)["numfile"]["held"], 0)

    def test_entries_go_with_the_container(self):
        ctid = self.start()
        group = (labguest.scope(ctid) / "ct").stat().st_ino
        counted = vzbpf.Map("vz_ub", "=76Q")
        counted.get(group)
        vzctl("stop", ctid, "--fast", check=0)
        self.assertRaises(FileNotFoundError, counted.get, group)

    def test_entries_go_when_the_groups_went_first(self):
        """As systemd does: what is left is the state, and it names the group."""
        ctid = self.start()
        group = (labguest.scope(ctid) / "ct").stat().st_ino
        vzhost.stop_vzd()
        (labguest.scope(ctid) / "ct" / "cgroup.kill").write_text("1")
        vzhost.wait_for(lambda: "populated 0" in (labguest.scope(ctid) / "cgroup.events").read_text(), what="the end")
        for path in sorted((p for p in labguest.scope(ctid).rglob("*") if p.is_dir()), reverse=True):
            path.rmdir()
        labguest.scope(ctid).rmdir()
        counted = vzbpf.Map("vz_ub", "=76Q")
        counted.get(group)
        vzctl("start", ctid, check=0)
        self.assertRaises(FileNotFoundError, counted.get, group)

    def test_a_start_looks_only_at_its_own(self):
        """Entries of nobody cost a start nothing: they wait for `vzctl vswap start`."""
        conf = vzbpf.conf_map()
        conf.set(1, 0, vzbpf.UNLIMITED, 0, 1, 0, 0)
        self.addCleanup(conf.delete, 1)
        self.start()
        self.assertEqual(conf.get(1)[1], vzbpf.UNLIMITED)


if __name__ == "__main__":
    labguest.main()

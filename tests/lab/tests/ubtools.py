#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of vzctl set and vzctl start with the BPF programs loaded, and tests/host/beancounters.py once more with them.

What the programs count is tested in ub.py; here it is libvz that tells them, and the tools that show it.
"""
import ctypes
import errno
import json
import os
import pathlib
import struct
import subprocess
import sys
import threading
import time
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
        inside.process = subprocess.Popen([sys.executable, "-c", "import os,sys,errno,socket,fcntl,tempfile,mmap\n"
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

    def test_shared_memory(self):
        self.exact("shmpages", "return mmap.mmap(-1,4096)", "ENOMEM")

    def test_terminals(self):
        self.exact("numpty", "return os.open('/dev/ptmx',os.O_RDWR|os.O_NOCTTY)", "ENOSPC")


class Told(vzhost.HostTest):
    """Refusals and kills are told when they happen: the interval at which counters are compared is an hour here."""

    def monitor(self, *words):
        before = slots()
        watch = subprocess.Popen([vzhost.BIN / "vzctl", "monitor", "--json", "--interval", "3600", *map(str, words)],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        vzhost.wait_for(lambda: slots() != before, what="a subscription")
        return watch

    def told(self, watch, ctid, what, resource=None):
        done = threading.Timer(60, watch.kill)
        done.start()
        try:
            for line in watch.stdout:
                event = json.loads(line)
                if (event["ctid"], event["event"], event.get("resource")) == (ctid, what, resource):
                    return event
        finally:
            done.cancel()
        self.fail(f"not told within a minute: {what} {resource}")

    def test_refusals(self):
        ctid = self.start()
        watch = self.monitor(ctid)
        other = self.monitor()  # each has a buffer of its own
        now = rows(ctid)["numothersock"]["held"]
        vzctl("set", ctid, "--numothersock", str(now + 3), check=0)
        code = "return socket.socket(socket.AF_INET,socket.SOCK_DGRAM)"
        self.assertEqual(Refused.attempt(self, ctid, code)[1:], (3, "ENOBUFS"))
        for reader in (watch, other):
            self.assertGreaterEqual(self.told(reader, ctid, "refused", "numothersock")["count"], 1)
        vzctl("set", ctid, "--numproc", str(rows(ctid)["numproc"]["held"] + 1), check=0)
        vzctl("exec2", ctid, "for i in 1 2 3 4 5; do sleep 1 & done; wait")
        self.told(watch, ctid, "refused", "numproc")

    def test_kills(self):
        ctid = self.start("--ram", "24M", "--swap", "0")
        watch = self.monitor()
        vzctl("exec2", ctid, "dd if=/dev/zero of=/dev/null bs=200M count=1")
        self.told(watch, ctid, "oom_kill")

    def test_who_dies_gives_its_place_back(self):
        before = slots()
        for _ in range(12):
            watch = self.monitor()
            watch.kill()
            watch.wait()
        self.assertLessEqual(len(slots() - before), 1)
        watches = [self.monitor() for _ in range(8 - len(before))]
        ninth = subprocess.Popen([vzhost.BIN / "vzctl", "monitor", "--json", "--interval", "0.2"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, text=True)  # compares, as without programs
        self.addCleanup(ninth.stdout.close)
        self.addCleanup(ninth.wait)
        self.addCleanup(ninth.kill)
        ctid = self.start()
        self.told(ninth, ctid, "started")
        self.assertEqual(len(watches), 8 - len(before))


def slots():
    """Who subscribes, by the number of the ring buffer."""
    path = ctypes.create_string_buffer(str(vzbpf.PINS / "vz_ub_rings").encode())
    fd = vzbpf.bpf(7, struct.pack("=QI", ctypes.addressof(path), 0))
    found = set()
    for slot in range(8):
        key, value = ctypes.c_uint32(slot), ctypes.c_uint32()
        try:
            vzbpf.bpf(1, struct.pack("=I4xQQQ", fd, ctypes.addressof(key), ctypes.addressof(value), 0))
            found.add((slot, value.value))
        except FileNotFoundError:
            pass
    os.close(fd)
    return found


class OutOfReach(vzhost.HostTest):
    def test_nothing_of_it_can_be_written_inside(self):
        ctid = self.start("--numproc", "200", "--ram", "128M")
        before = {name: (row["barrier"], row["limit"]) for name, row in rows(ctid).items()}
        for attempt in ("echo 0 > /proc/user_beancounters", "echo max > /sys/fs/cgroup/pids.max",
                        "echo max > /sys/fs/cgroup/memory.max", "echo $$ > /sys/fs/cgroup/../cgroup.procs",
                        "mount -t bpf none /mnt && ls /mnt/vz", "ls /sys/fs/bpf/vz",
                        "mount -t cgroup2 none /mnt && ls -d /mnt/vz.slice"):
            self.assertNotEqual(vzctl("exec2", ctid, attempt).rc, 0, attempt)
        self.assertEqual({name: (row["barrier"], row["limit"]) for name, row in rows(ctid).items()}, before)


def fill_up(hook, links):
    """As many programs as the kernel takes on a hook; those that were there before may go a moment later."""
    refused = 0
    while refused < 4:
        try:
            links.append(vzbpf.hang_on(hook))
            refused = 0
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            refused += 1
            time.sleep(0.5)


class OneRefused(vzhost.HostTest):
    def test_the_others_go_on(self):
        """The kernel takes a few dozen programs on a hook at most: ours is one too many."""
        vzbpf.vz_bpf("unload")
        links = []
        fill_up(vzbpf.function_id("bpf_lsm_task_kill"), links)
        try:
            loaded = vzbpf.programs(vzbpf.vz_bpf("load"))
            self.assertFalse(loaded["ub_siginfo_charge"]["attached"])
            self.assertIn("Argument list too long", loaded["ub_siginfo_charge"]["reason"])
            self.assertTrue(all(loaded[name]["attached"] for name in ("ub_sock_create", "ub_flock_ask", "ub_pty_charge")))
            seen = vzhost.feature("ub.numsiginfo")
            self.assertFalse(seen["present"])
            self.assertIn("ub_siginfo_charge", seen["detail"])
            self.assertTrue(vzhost.feature("ub.numothersock")["present"])
            ctid = self.start()
            self.assertNotEqual(vzctl("set", ctid, "--numsiginfo", "20").rc, 0)
            vzctl("set", ctid, "--numothersock", "2000", check=0)
        finally:
            for link in links:
                os.close(link)
            vzbpf.vz_bpf("load")
        self.assertTrue(vzhost.feature("ub.numsiginfo")["present"])


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

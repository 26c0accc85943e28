#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 of vzctl at every step of create, start, stop, set and destroy; afterwards the next calls work.

The steps are not listed here: a traced run tells them, so a new step is tested as soon as it exists.
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import vzctl


def leftovers(ctid):
    """What of this container is visible on the host: network devices, cgroups, mounts, loop devices, state."""
    found = []
    links = vzhost.run(["ip", "-o", "link"]).out
    if f"vz{ctid}:" in links or f"vz{ctid}@" in links:
        found.append("network device")
    found += [f"cgroup {path}" for path in vzhost.cgroups(ctid)]
    if f"/{ctid}/" in pathlib.Path("/proc/self/mountinfo").read_text():
        found.append("mount")
    if f"/private/{ctid}" in vzhost.run(["losetup", "-a"]).out:
        found.append("loop device")
    if pathlib.Path(f"/run/vz/{ctid}").exists():
        found.append("state")
    return found


class KillAtEveryStep(vzhost.HostTest):
    OPTIONS = ("--ram", "64M", "--swap", "0", "--ipadd", "198.18.7.7", "--hostname", "f.example")

    def create_args(self, ctid):
        return ("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "32M", *self.OPTIONS)

    def kill_at(self, step, *args):
        result = vzctl(*args, env={"VZ_FAULT": step})
        if result.rc == 0 and re.fullmatch(r"usage\.\w+:\d+", step):
            return  # the record is written again only if something was used since the first time
        self.assertEqual(result.rc, -signal.SIGKILL, f"{step}: the step was not reached\n{result}")

    def check_alive(self, ctid, step):
        """The container can be brought up, used and taken away."""
        self.assertRc(vzctl("status", ctid), 0)
        started = vzctl("start", ctid)
        self.assertIn(started.rc, (0, 32), f"after {step}\n{started}")
        self.assertEqual(self.inside(ctid, "echo alive").strip(), "alive", step)
        self.assertRc(vzctl("stop", ctid, "--fast"), 0)
        self.assertRc(vzctl("destroy", ctid), 0)
        self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted", step)
        vzhost.wait_for(lambda: not leftovers(ctid), what=f"after {step}: {leftovers(ctid)}")

    def test_create(self):
        probe = self.new_id()
        self.addCleanup(self.wipe, probe)
        steps = vzhost.traced(*self.create_args(probe))
        self.assertGreaterEqual(len(steps), 4, steps)
        for step in steps:
            with self.subTest(step=step):
                ctid = self.new_id()
                self.addCleanup(self.wipe, ctid)
                self.kill_at(step, *self.create_args(ctid))
                self.assertRc(vzctl("status", ctid), 0)
                again = vzctl(*self.create_args(ctid))
                self.assertIn(again.rc, (0, 44), repr(again))  # 44: the killed one had got as far as the rename
                self.check_alive(ctid, f"create {step}")

    def each_step(self, prepare, *command):
        probe = self.create(*self.OPTIONS)
        prepare(probe)
        steps = vzhost.traced(command[0], probe, *command[1:])
        self.assertGreaterEqual(len(steps), 3, steps)
        self.wipe(probe)  # its addresses are needed again
        for step in steps:
            with self.subTest(step=step):
                ctid = self.create("--ram", "64M", "--swap", "0", "--ipadd", "198.18.7.8", "--hostname", "f.example")
                prepare(ctid)
                self.kill_at(step, command[0], ctid, *command[1:])
                if command[0] == "destroy":
                    # Destroyed is destroyed: a second call finishes or finds nothing; it never comes back to life.
                    self.assertIn(vzctl("destroy", ctid).rc, (0, 14), step)
                    self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted", step)
                    self.assertEqual(leftovers(ctid), [], step)
                    self.assertRc(vzctl(*self.create_args(ctid)), 0)
                self.check_alive(ctid, f"{command[0]} {step}")

    def test_start(self):
        self.each_step(lambda ctid: None, "start")

    def test_stop(self):
        self.each_step(lambda ctid: vzctl("start", ctid, check=0), "stop", "--fast")

    def test_stop_graceful(self):
        self.each_step(lambda ctid: vzctl("start", ctid, check=0), "stop")

    def test_destroy(self):
        self.each_step(lambda ctid: None, "destroy")

    def test_set_running(self):
        self.each_step(lambda ctid: vzctl("start", ctid, check=0), "set", "--ram", "96M", "--swap", "0", "--ipadd",
                       "198.18.7.9", "--hostname", "g.example", "--save")


class TwoAtOnce(vzhost.HostTest):
    def test_second_is_locked_out(self):
        """While one vzctl holds a container, another gets status 9 and the name of the holder."""
        ctid = self.create()
        script = pathlib.Path(f"/etc/vz/conf/{ctid}.premount")
        fifo = pathlib.Path(tempfile.mkdtemp()) / "go"
        os.mkfifo(fifo)
        script.write_text(f"#!/bin/sh\nread x <{fifo}\n")
        script.chmod(0o755)
        first = subprocess.Popen([vzhost.BIN / "vzctl", "start", str(ctid)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with open(fifo, "w") as go:  # opens when the script reads: the lock is held now
                for command in (["start"], ["stop"], ["destroy"], ["set", "--ram", "64M", "--swap", "0", "--save"]):
                    second = vzctl(command[0], ctid, *command[1:])
                    self.assertRc(second, 9)
                    self.assertIn("already locked", second.err)
                    self.assertIn(str(first.pid), second.err)
                self.assertRc(vzctl("status", ctid), 0)
                go.write("go\n")
        finally:
            self.assertEqual(first.wait(60), 0)
        self.assertIn("running", self.status(ctid))

    def test_twenty_creates_of_one_id(self):
        """Exactly one wins; the others are told why; the result is whole."""
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        results = []
        args = ("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "32M")
        threads = [threading.Thread(target=lambda: results.append(vzctl(*args).rc)) for _ in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(results.count(0), 1, results)
        self.assertTrue(set(results) <= {0, 9, 44}, results)
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "echo ok").strip(), "ok")


if __name__ == "__main__":
    vzhost.main()

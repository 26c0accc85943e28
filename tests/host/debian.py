#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An ordinary Debian container with systemd: boots clean, serves, sees its own memory, reboots, stops in order."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import run, vzctl


class Debian(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        cls.holder = cls("test_boots_without_failed_units")
        cls.ctid = cls.holder.create("--ram", "512M", "--swap", "256M", "--ipadd", "198.18.1.1", "--hostname", "d.example",
                                     template=vzhost.debian_template(), diskspace="2G")
        vzctl("start", cls.ctid, "--wait", check=0, timeout=180)

    @classmethod
    def tearDownClass(cls):
        cls.holder.doCleanups()

    def test_boots_without_failed_units(self):
        state = vzctl("exec2", self.ctid, "systemctl is-system-running").out.strip()
        failed = vzctl("exec2", self.ctid, "systemctl --failed --no-legend --plain").out
        self.assertEqual(failed, "")
        self.assertEqual(state, "running")

    def test_pid_1_is_idle(self):
        """PID 1 below 5 % of a CPU over two seconds (a lost PSI trigger would make it spin)."""
        def ticks():
            fields = self.inside(self.ctid, "cat /proc/1/stat").rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])
        before = ticks()
        self.inside(self.ctid, "sleep 2")
        self.assertLess(ticks() - before, 10)

    def test_migratable_by_construction(self):
        """No task has nested namespaces that CRIU cannot dump."""
        out = self.inside(self.ctid, "for n in user pid uts ipc cgroup time; do "
                                     "readlink /proc/[0-9]*/ns/$n 2>/dev/null | sort -u | wc -l; done")
        self.assertEqual(out.split(), ["1"] * 6)
        self.assertEqual(self.inside(self.ctid, "find /proc/[0-9]*/fd -lname '*memory.pressure' 2>/dev/null | wc -l").strip(), "0")

    def test_unit_operations(self):
        for command in ("systemctl daemon-reload", "systemctl restart systemd-journald", "systemctl restart systemd-logind",
                        "systemd-run --wait --quiet true", "logger hello", "systemctl daemon-reexec", "busctl list --no-pager"):
            with self.subTest(command=command):
                self.assertRc(vzctl("exec2", self.ctid, command, timeout=60), 0)

    def test_network_service_answers(self):
        self.inside(self.ctid, "mkdir -p /srv && echo it works > /srv/index.html")
        self.inside(self.ctid, "systemd-run --quiet --unit=web busybox httpd -f -p 80 -h /srv")
        page = vzhost.wait_for(lambda: run(["curl", "-s", "-m", "2", "http://198.18.1.1/"]).out, what="web page")
        self.assertEqual(page, "it works\n")

    def test_enter_has_a_terminal(self):
        out = run(["script", "-qec", f"{vzhost.BIN}/vzctl enter {self.ctid} --exec tty", "/dev/null"], timeout=30).out
        self.assertIn("/dev/pts/", out)

    def test_window_size_reaches_the_inside(self):
        out = run(["script", "-qec", f"stty rows 33 cols 77; {vzhost.BIN}/vzctl enter {self.ctid} --exec stty size",
                   "/dev/null"], timeout=30).out
        self.assertIn("33 77", out)

    def test_stop_is_orderly_and_fast_enough(self):
        stopped = vzctl("stop", self.ctid, check=0, timeout=120)
        self.assertNotIn("Killing", stopped.out)
        vzctl("start", self.ctid, "--wait", check=0, timeout=180)
        self.assertEqual(self.inside(self.ctid, "cat /etc/hostname").strip(), "d.example")


if __name__ == "__main__":
    vzhost.main()

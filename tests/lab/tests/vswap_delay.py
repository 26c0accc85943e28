#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A patched kernel's memory.swap.delay as vz uses it: chosen, set, kept by real containers, out of their reach.

In a guest of tests/lab/run --kernel patched…|uml… --swap 1G. patched.py tests the file itself, without vz.
VZ_TEST_WITHOUT=delay writes 0 to the file behind vz's back after each start and change: the tests must fail then.
"""
import os
import pathlib
import subprocess
import time
import unittest

import labguest
import vzhost
from labguest import CGROUP, WITHOUT, scope, set_, value, vmstat
from vzhost import run, vzctl

LOAD = pathlib.Path("/tmp/memory_load")


def swapped():
    return vmstat("pswpin") + vmstat("pswpout")


def rate_over(seconds):
    """Pages per second that the whole guest swaps: nobody else does here."""
    pages, began = swapped(), time.monotonic()
    time.sleep(seconds)
    return (swapped() - pages) / (time.monotonic() - began)


class Delay(vzhost.HostTest):
    fastest = {}  # threads: pages/s without a delay

    @classmethod
    def setUpClass(cls):
        probe = CGROUP / "probe"
        probe.mkdir()
        patched = (probe / "memory.swap.delay").exists()
        probe.rmdir()
        if not patched:
            raise unittest.SkipTest(f"{os.uname().release} has no memory.swap.delay: --kernel patched")
        vzhost.need("swap")
        run(["gcc", "-O2", "-static", "-pthread", "-o", LOAD, vzhost.SOURCE / "bench" / "memory_load.c"], check=0)

    def container(self, rate=None, ram="32M", swap="128M"):
        # one CPU: without KVM, what reclaim takes from a process on two is an interrupt of milliseconds
        mask = ("--cpumask", "0") if os.cpu_count() > 1 else ()
        ctid = self.start("--ram", ram, "--swap", swap, *mask, *(() if rate is None else ("--vswap-rate", rate)))
        vzctl("exec2", ctid, "cat >/load; chmod 755 /load", stdin=LOAD.read_bytes(), check=0)
        self.sabotage(ctid)
        return ctid

    @staticmethod
    def sabotage(ctid):
        if "delay" in WITHOUT:
            (scope(ctid) / "ct" / "memory.swap.delay").write_text("0")

    def change(self, ctid, rate):
        set_(ctid, "--vswap-rate", rate, check=0)
        self.sabotage(ctid)

    def sweep(self, ctid, threads=1, megabytes=64):
        """Twice its RAM, touched again and again; filled at full speed."""
        load = subprocess.Popen([vzhost.BIN / "vzctl", "exec2", str(ctid), f"exec /load sweep {megabytes} {threads}"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.addCleanup(load.stdout.close)
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        self.assertEqual(load.stdout.readline().strip(), "ready")
        return load

    def end(self, ctid, load):
        """Every page held what was written to it, or the load says so."""
        vzctl("exec2", ctid, "killall -TERM load")
        self.assertEqual(load.wait(timeout=120), 0)

    def hold(self, ctid, rate, what):
        """Within 5 %. Too fast is wrong at once. Too slow is tried again: a busy host stops the guest at times, and one
        that is too busy for the rate without a delay, too, shows nothing."""
        seen = []
        for _ in range(6):
            seen.append(rate_over(4))
            self.assertLess(seen[-1], 1.05 * rate, what)
            if seen[-1] > 0.95 * rate:
                break
        print(f"# {what}, {rate} pages/s: {seen[-1]:.0f}", flush=True)
        if seen[-1] <= 0.95 * rate:
            self.change(ctid, "0")
            self.assertLess(min(rate_over(4) for _ in range(3)), 1.4 * rate, f"{what}: {seen}")
            self.skipTest(f"the host is busy: {seen[-1]:.0f} of {rate} pages/s, and not much more without a delay")

    def test_it_is_the_mechanism_that_is_shown(self):
        self.start("--ram", "32M", "--swap", "32M")
        self.assertRegex(vzhost.feature("vswap.mechanism")["detail"], r"^kernel: .*memory\.swap\.delay")
        status = vzctl("vswap", "status", "--json", check=0).json()
        self.assertEqual(status["mechanism"], "kernel")

    def test_rates_become_delays(self):
        ctid = self.start("--ram", "32M", "--swap", "32M")
        self.assertEqual(value(ctid, "memory.swap.delay"), "39", "25 600 pages/s unless told otherwise")
        for rate, delay in (("2400", "417"), ("100000", "10"), ("0", "0"), ("1000", "1000"), ("10000000", "1")):
            set_(ctid, "--vswap-rate", rate, check=0)
            self.assertEqual(value(ctid, "memory.swap.delay"), delay)
        vzctl("restart", ctid, "--fast", check=0)
        self.assertEqual(value(ctid, "memory.swap.delay"), "1", "of the configuration")

    def test_slower_than_the_kernel_can(self):
        """The file takes 10 ms at most. What it does not take is not kept in silence."""
        ctid = self.start("--ram", "32M", "--swap", "32M", "--vswap-rate", "1000")
        slow = set_(ctid, "--vswap-rate", "10")
        self.assertTrue(slow.rc != 0 or value(ctid, "memory.swap.delay") == "10000", repr(slow))
        print(f"# --vswap-rate 10: {slow.rc}, {value(ctid, 'memory.swap.delay')} us: {slow.err.strip()}")

    def check_rates(self, threads):
        ctid = self.container("0")
        load = self.sweep(ctid, threads)
        most = rate_over(3)
        print(f"# {threads} threads, no delay: {most:.0f} pages/s", flush=True)
        self.assertGreater(most, 2 * 1000, "else nothing is shown")
        for rate in (1000, 2400, 10000, 25600, 100000):
            if most < 1.4 * rate:
                print(f"# {rate} pages/s, {threads} threads: this guest swaps {most:.0f} at most")
                continue
            self.change(ctid, rate)
            time.sleep(0.5)
            self.hold(ctid, rate, f"{threads} threads")
        self.change(ctid, "0")
        again = max(rate_over(2) for _ in range(4))
        self.assertGreater(again, 1.5 * 1000, "at full speed again")
        self.end(ctid, load)

    def test_one_thread_is_slowed_to_the_rate(self):
        self.check_rates(1)

    def test_four_threads_share_the_rate(self):
        self.check_rates(4)

    def test_a_rate_given_at_creation_holds_from_the_start(self):
        ctid = self.container("1000")
        load = self.sweep(ctid)
        self.hold(ctid, 1000, "from the start")
        self.change(ctid, "0")
        self.end(ctid, load)

    def test_below_ram_nothing_is_paid(self):
        ctid = self.container("100", ram="128M")
        before = labguest.events(ctid, "memory.stat")["swap_delayed"]
        load = self.sweep(ctid)
        time.sleep(2)
        self.end(ctid, load)
        self.assertEqual(labguest.events(ctid, "memory.stat")["swap_delayed"], before)

    def test_a_neighbour_pays_nothing(self):
        payer, free = self.container("0"), self.container("0")
        loads = self.sweep(payer), self.sweep(free)
        self.change(payer, "500")
        time.sleep(0.5)
        before = labguest.events(payer, "memory.stat")["swap_delayed"]
        seconds, rate = 4, rate_over(4)
        paid = (labguest.events(payer, "memory.stat")["swap_delayed"] - before) / seconds
        self.assertLess(paid, 1.2 * 500)
        self.assertGreater(paid, 0.5 * 500)
        self.assertGreater(rate, 4 * 500)
        self.assertEqual(labguest.events(free, "memory.stat")["swap_delayed"], 0)
        self.change(payer, "0")
        for ctid, load in zip((payer, free), loads):
            self.end(ctid, load)

    def test_nobody_inside_lifts_it(self):
        ctid = self.container("1000")
        for path in ("/sys/fs/cgroup/memory.swap.delay", "/tmp/cg/memory.swap.delay"):
            self.inside(ctid, f"mkdir -p /tmp/cg; mount -t cgroup2 none /tmp/cg; echo 0 >{path}; echo 9999 >{path}; :", check=None)
        self.assertEqual(value(ctid, "memory.swap.delay"), "0" if "delay" in WITHOUT else "1000")
        self.assertEqual(value(ctid, "memory.max"), str(32 << 20))


if __name__ == "__main__":
    labguest.main()

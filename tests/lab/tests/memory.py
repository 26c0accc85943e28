#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM and swap on cgroup v2 with a zram swap device: R, S and R+S hold, cuts reclaim, only the container pays."""
import threading
import time

import labguest
import vzhost
from labguest import MIB, events, number, set_, value, vmstat
from vzhost import vzctl


# A charge adds its batch (MEMCG_CHARGE_BATCH pages, mm/memcontrol.c) to the usage first, compares with the limit then,
# and takes it back when it was too much (page_counter_try_charge(), mm/page_counter.c): a sample in between shows pages
# that nobody got. One task charges here at a time. That this is the whole difference is read in the source, not traced.
CHARGE_BATCH = 64 * 4096


class Watch(threading.Thread):
    """The highest use of RAM and swap while something else runs."""

    def __init__(self, ctid):
        super().__init__(daemon=True)
        self.ctid, self.ram, self.swap, self.both, self.end = ctid, 0, 0, 0, threading.Event()

    def run(self):
        while not self.end.is_set():
            ram, swap = number(self.ctid, "memory.current"), number(self.ctid, "memory.swap.current")
            self.ram, self.swap, self.both = max(self.ram, ram), max(self.swap, swap), max(self.both, ram + swap)
            time.sleep(0.01)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.join()


class Memory(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        vzhost.need("swap")
        vzhost.need("cgroup.swap")

    def fill(self, ctid, megabytes, check=0):
        """Anonymous memory in a file system of the container; its pages can go to swap and nowhere else."""
        return vzctl("exec2", ctid, "mkdir -p /m; grep -q ' /m ' /proc/mounts || mount -t tmpfs -o size=1g none /m; "
                                    f"dd if=/dev/urandom of=/m/data bs=1M count={megabytes} 2>/dev/null", check=check)

    def digest(self, ctid):
        return self.inside(ctid, "md5sum /m/data").split()[0]

    def test_limits_are_exact(self):
        ctid = self.start("--ram", "64M", "--swap", "64M")
        self.assertEqual((value(ctid, "memory.max"), value(ctid, "memory.swap.max")), (str(64 * MIB), str(64 * MIB)))
        set_(ctid, "--ram", "96M", "--swap", "0", check=0)
        self.assertEqual((value(ctid, "memory.max"), value(ctid, "memory.swap.max")), (str(96 * MIB), "0"))

    def test_over_ram_goes_to_swap_and_never_beyond_the_sum(self):
        ctid = self.start("--ram", "64M", "--swap", "64M")
        with Watch(ctid) as watch:
            self.fill(ctid, 96)
            first = self.digest(ctid)
            self.assertEqual(self.digest(ctid), first)
        self.assertGreater(watch.swap, 30 * MIB)
        self.assertLessEqual(watch.swap, 64 * MIB)
        self.assertLessEqual(watch.ram, 64 * MIB + CHARGE_BATCH)
        self.assertLessEqual(watch.both, 128 * MIB + CHARGE_BATCH)
        self.assertEqual(events(ctid)["oom_kill"], 0)

    def test_beyond_the_sum_only_the_container_pays(self):
        ctid = self.start("--ram", "64M", "--swap", "64M")
        neighbour = self.start("--ram", "64M", "--swap", "64M")
        self.fill(neighbour, 16)
        kept = self.digest(neighbour)
        before = vmstat("oom_kill")
        with Watch(ctid) as watch:
            eater = vzctl("exec2", ctid, "dd if=/dev/urandom of=/dev/null bs=200M count=1")
        self.assertNotEqual(eater.rc, 0)
        self.assertLessEqual(watch.both, 128 * MIB + CHARGE_BATCH)
        killed = events(ctid)["oom_kill"]
        self.assertGreater(killed, 0)
        self.assertEqual(vmstat("oom_kill") - before, killed, "nothing was killed anywhere else")
        self.assertEqual(events(neighbour)["oom_kill"], 0)
        self.assertEqual(self.digest(neighbour), kept)
        self.assertIn("running", self.status(ctid))
        self.assertEqual(self.inside(ctid, "echo alive").strip(), "alive")

    def test_without_swap_nothing_is_swapped(self):
        ctid = self.start("--ram", "64M", "--swap", "0")
        self.fill(ctid, 32)
        self.assertNotEqual(vzctl("exec2", ctid, "dd if=/dev/urandom of=/dev/null bs=100M count=1").rc, 0)
        self.assertEqual(number(ctid, "memory.swap.current"), 0)
        self.assertEqual(events(ctid, "memory.swap.events").get("max", 0) >= 0, True)

    def test_page_cache_is_no_reason_to_kill(self):
        ctid = self.start("--ram", "48M", "--swap", "0", diskspace="256M")
        with Watch(ctid) as watch:
            self.inside(ctid, "dd if=/dev/zero of=/cache bs=1M count=128; cat /cache >/dev/null")
        self.assertLessEqual(watch.ram, 48 * MIB + CHARGE_BATCH)
        self.assertEqual(events(ctid)["oom_kill"], 0)

    def test_a_ram_cut_reclaims_and_never_kills(self):
        ctid = self.start("--ram", "160M", "--swap", "160M")
        self.fill(ctid, 96)
        before = self.digest(ctid)
        killed = vmstat("oom_kill")
        set_(ctid, "--ram", "48M", "--swap", "160M", check=0)
        self.assertEqual(number(ctid, "memory.max"), 48 * MIB)
        self.assertLessEqual(number(ctid, "memory.current"), 48 * MIB)
        self.assertGreater(number(ctid, "memory.swap.current"), 40 * MIB)
        self.assertEqual(events(ctid)["oom_kill"], 0)
        self.assertEqual(vmstat("oom_kill"), killed)
        self.assertEqual(self.digest(ctid), before)

    def test_a_cut_of_both_below_the_working_set_is_refused(self):
        ctid = self.start("--ram", "96M", "--swap", "64M")
        self.fill(ctid, 110)
        before = self.digest(ctid)
        config = self.config(ctid)
        for ram, swap in (("32M", "16M"), ("32M", "0"), ("64M", "0")):
            with self.subTest(ram=ram, swap=swap):
                refused = set_(ctid, "--ram", ram, "--swap", swap)
                self.assertNotEqual(refused.rc, 0, repr(refused))
                self.assertEqual((number(ctid, "memory.max"), number(ctid, "memory.swap.max")), (96 * MIB, 64 * MIB))
                self.assertEqual(events(ctid)["oom_kill"], 0)
                self.assertEqual(self.config(ctid), config)
        self.assertEqual(self.digest(ctid), before)
        self.assertIn("running", self.status(ctid))

    @staticmethod
    def config(ctid):
        return vzhost.pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()

    def test_raise_under_load(self):
        """A container at its limit goes on when the limit is raised; nothing is killed on the way."""
        ctid = self.start("--ram", "64M", "--swap", "32M")
        self.fill(ctid, 70)
        for ram, swap in (("96M", "64M"), ("192M", "32M"), ("128M", "128M")):
            set_(ctid, "--ram", ram, "--swap", swap, check=0)
        self.fill(ctid, 140)
        self.assertEqual(events(ctid)["oom_kill"], 0)


if __name__ == "__main__":
    labguest.main()

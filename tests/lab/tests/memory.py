#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM and swap on cgroup v2 with a zram swap device: R, S and R+S hold, cuts reclaim, only the container pays.

VZ_TEST_WITHOUT=limits: no container has any limit of memory. VZ_TEST_WITHOUT=cut: limits of a running one are changed as
`echo SIZE >memory.max` does, without looking first. VZ_TEST_WITHOUT=low: nobody is spared. The tests must fail then.
"""
import pathlib
import re
import subprocess
import sys
import threading
import time

import labguest
import vzhost
from labguest import CGROUP, MIB, WITHOUT, events, number, scope, value, vmstat
from vzhost import vzctl


# A charge adds its batch (MEMCG_CHARGE_BATCH pages, mm/memcontrol.c) to the usage first, compares with the limit then,
# and takes it back when it was too much (page_counter_try_charge(), mm/page_counter.c): a sample in between shows pages
# that nobody got. One task charges here at a time. That this is the whole difference is read in the source, not traced.
CHARGE_BATCH = 64 * 4096


def write_limits(ctid, ram, swap):
    for name, limit in (("memory.swap.max", swap), ("memory.max", ram)):
        (scope(ctid) / "ct" / name).write_text(limit)


def set_(ctid, ram_option, ram, swap_option, swap, **kw):
    """`vzctl set --ram R --swap S --save`, or what the run was told to do instead."""
    if "cut" in WITHOUT:
        write_limits(ctid, ram, swap)
        kw.pop("check", None)
        return vzctl("status", ctid, **kw)
    done = labguest.set_(ctid, ram_option, ram, swap_option, swap, **kw)
    if "limits" in WITHOUT:
        write_limits(ctid, "max", "max")
    return done


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


def free_memory():
    return int(re.search(r"MemFree: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024


class Hog:
    """A process of the host whose memory cannot be swapped; it takes more when told to."""
    CODE = """
import sys
kept = []
for line in sys.stdin:
    kept.append(b"x" * (int(line) << 20))
    print("done", flush=True)
"""

    def __init__(self, test):
        self.group = CGROUP / "vztest-hog"
        self.group.mkdir()
        test.addCleanup(self.end)
        (self.group / "memory.swap.max").write_text("0")
        self.process = subprocess.Popen([sys.executable, "-c", self.CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, preexec_fn=lambda: (self.group / "cgroup.procs").write_text("0"))

    def take(self, megabytes):
        self.process.stdin.write(f"{megabytes}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise AssertionError("the hog is dead")

    def end(self):
        if not self.group.exists():
            return
        self.process.kill()
        self.process.communicate()
        vzhost.wait_for(lambda: "populated 0" in (self.group / "cgroup.events").read_text(), what="the hog's end")
        self.group.rmdir()


class Memory(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        vzhost.need("swap")
        vzhost.need("cgroup.swap")

    def start(self, *options, **kw):
        ctid = super().start(*options, **kw)
        if "limits" in WITHOUT:
            write_limits(ctid, "max", "max")
        if "low" in WITHOUT:  # what P has more than P/ct goes down all the same
            for path in (scope(ctid) / "memory.low", scope(ctid) / "memory.min"):
                if path.read_text().strip() != "0":
                    path.write_text("max")
        return ctid

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

    @staticmethod
    def spare_all_containers(low):
        """systemd has its own idea of vz.slice and writes it again whenever a property of a unit below changes."""
        if labguest.SYSTEMD:
            low = low.replace("max", "infinity")
            subprocess.run(["systemctl", "set-property", "--runtime", "vz.slice", f"MemoryLow={low}", f"MemoryMin={low}"], check=True)
        else:
            for name in ("memory.low", "memory.min"):
                (CGROUP / "vz.slice" / name).write_text(low)

    def test_the_host_runs_short_and_spares_who_uses_little(self):
        """Both are far below R and have the same in use; one has less than it is guaranteed (R/2), the other more."""
        slice_ = CGROUP / "vz.slice" / "memory.low"  # what is not claimed of it is shared out: as good as nothing
        low_before = slice_.read_text().strip() if slice_.exists() else "0"
        self.addCleanup(self.spare_all_containers, low_before)
        spared = self.start("--ram", "512M", "--swap", "512M")
        other = self.start("--ram", "512M", "--swap", "512M", "--oomguarpages", "1M")
        for ctid in (spared, other):  # text that compresses well, so that swapping it out helps the host
            self.inside(ctid, "mkdir -p /m; mount -t tmpfs -o size=1g none /m; "
                              f"yes 0123456789 | head -c {160 * MIB} >/m/data")
        self.spare_all_containers(str(170 * MIB))
        before = self.digest(spared), self.digest(other)
        hog, killed = Hog(self), vmstat("oom_kill")
        hog.take(free_memory() // MIB)
        taken = 0
        while number(other, "memory.swap.current") < 80 * MIB and taken < 1000:
            hog.take(8)
            taken += 8
        swapped = [number(ctid, "memory.swap.current") / MIB for ctid in (spared, other)]
        print(f"# in swap: {swapped[0]:.0f} MiB of the spared, {swapped[1]:.0f} MiB of the other", flush=True)
        self.assertGreaterEqual(swapped[1], 80)
        self.assertLess(swapped[0], 16)
        hog.end()
        self.assertEqual((self.digest(spared), self.digest(other)), before)
        self.assertEqual(vmstat("oom_kill"), killed)


if __name__ == "__main__":
    labguest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kmod/patches in a guest of tests/lab/run --kernel patched…|uml…: memory.swap.delay and the counters of swapped pages.

Needs a swap (--swap 512M) and nothing of vz. Rates are measured over seconds of real time on a machine that has other
things to do, so a rate that was missed is measured again; the bounds stay what they are.
"""
import contextlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import vzhost  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CGROUP = pathlib.Path("/sys/fs/cgroup")
PAGE = os.sysconf("SC_PAGESIZE")
MOVES = ("pswpin", "pswpout", "swpin_zero", "swpout_zero", "zswpin", "zswpout")
RATES = ((417, 2400), (39, 25600), (10, 100000))  # usec per page, pages/s that it stands for
SECONDS = 4


class Group:
    """A cgroup of one test. What runs in it is killed at its end."""

    def __init__(self, parent, name, delay=0):
        self.path = parent / name
        self.path.mkdir()
        self.write("memory.swap.delay", delay)

    def write(self, name, value):
        (self.path / name).write_text(str(value))

    def read(self, name):
        return (self.path / name).read_text().strip()

    def stat(self, *keys):
        lines = dict(line.split() for line in self.read("memory.stat").splitlines())
        return sum(int(lines.get(key, 0)) for key in keys)

    def charged(self):
        return self.stat("swap_delayed")

    def stall(self):
        """Microseconds in which some task waited for memory."""
        return int(self.read("memory.pressure").splitlines()[0].rpartition("total=")[2])

    def run(self, *command, cpus=frozenset({0}), **options):
        """On one CPU unless told otherwise: without KVM, each page that reclaim takes from a process on several is an
        interrupt of milliseconds, and what would be measured is that."""
        def enter():
            self.write("cgroup.procs", os.getpid())
            os.sched_setaffinity(0, cpus)
        return subprocess.Popen([str(part) for part in command], **options, preexec_fn=enter)

    def remove(self):
        self.write("cgroup.kill", 1)
        for _ in range(500):
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.02)
        raise AssertionError(f"{self.path} is busy: {self.read('cgroup.procs')}")


class Patched(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.mkdtemp()
        cls.swapper = f"{cls.work}/swapper"
        subprocess.run(["gcc", "-O2", "-static", "-pthread", "-o", cls.swapper, HERE / "swapper.c"], check=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work)

    def group(self, name="delay", delay=0, parent=CGROUP):
        group = Group(parent, name, delay)
        self.addCleanup(group.remove)
        return group

    def churn(self, group, threads=1, pages=64, content="zero", how="churn", **options):
        process = group.run(self.swapper, how, threads, pages, content, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def holder(self, group, pages=256):
        process = group.run(self.swapper, "hold", pages, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        address = int(process.stdout.readline(), 16)
        self.idle(process)
        return process, address

    @staticmethod
    def idle(process):
        """Waits until it waits for a signal: until then it may touch, and pay for, a page of its own."""
        while pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.01)

    def ask(self, process, number):
        process.send_signal(number)
        answer = process.stdout.readline().strip()
        self.idle(process)
        return answer

    @staticmethod
    def rate(group, seconds=SECONDS, settle=0.5):
        """Pages per second that were charged, after the first ones that cost nothing."""
        time.sleep(settle)
        pages, began = group.charged(), time.monotonic()
        time.sleep(seconds)
        return (group.charged() - pages) / (time.monotonic() - began)

    def assert_rate(self, group, delay, what, tries=8):
        """Within 5 %. A host that is busy stops the guest for longer than the credit makes up for: too slow is tried
        again. Too fast never is, but for the reading that may still have the credit in it, the first one."""
        exact, seen = 1e6 / delay, []
        for _ in range(tries):
            seen.append(round(self.rate(group)))
            if abs(seen[-1] - exact) <= 0.05 * exact or (len(seen) > 1 and seen[-1] > exact):
                break
        print(f"     {what}: {delay} usec: {seen[-1]} pages/s, {100 * seen[-1] / exact - 100:+.1f} %", flush=True)
        self.assertAlmostEqual(seen[-1], exact, delta=0.05 * exact, msg=f"{what}: {seen}")

    def full_speed(self, threads):
        group = self.group(f"full{threads}")
        process = self.churn(group, threads)
        time.sleep(0.5)
        moved, began = group.stat(*MOVES), time.monotonic()
        time.sleep(2)
        rate = (group.stat(*MOVES) - moved) / (time.monotonic() - began)
        self.assertEqual(group.charged(), 0)
        process.kill()
        process.wait()
        print(f"     {threads} threads, no delay: {rate:.0f} pages/s", flush=True)
        return rate

    def test_rate_is_exact_for_one_thread_and_for_four(self):
        for threads in (1, 4):
            speed = self.full_speed(threads)
            for delay, rate in RATES:
                with self.subTest(threads=threads, rate=rate):
                    if speed < 1.4 * rate:
                        print(f"skipped: {rate} pages/s, {threads} threads: this guest moves only {speed:.0f} at full speed")
                        continue
                    group = self.group(f"rate{delay}-{threads}", delay)
                    process = self.churn(group, threads)
                    self.assert_rate(group, delay, f"{threads} threads")
                    process.kill()
                    process.wait()

    def test_on_all_cpus_it_is_never_faster(self):
        """However slow this machine is at it."""
        cpus = os.sched_getaffinity(0)
        if len(cpus) < 2:
            self.skipTest("one CPU")
        group = self.group(delay=2000)
        self.churn(group, 4, cpus=cpus)
        self.rate(group)  # has the credit in it
        seen = self.rate(group)
        print(f"     4 threads on {len(cpus)} CPUs: 2000 usec: {seen:.0f} pages/s", flush=True)
        self.assertLess(seen, 1.05 * 500)
        self.assertGreater(seen, 0)

    def test_rate_of_real_data_over_memory_max(self):
        """Not madvise but a working set of twice the limit, with data that has to be compressed."""
        group = self.group(delay=417)
        group.write("memory.max", 16 << 20)
        process = self.churn(group, 4, 2048, "data", "walk")
        self.assert_rate(group, 417, "memory.max")
        self.assertAlmostEqual(group.stat(*MOVES), group.charged(), delta=0.02 * group.charged() + 256)
        process.kill()
        process.wait()

    def test_a_new_delay_holds_at_once(self):
        group = self.group(delay=10000)
        self.churn(group, 4, 1024)  # forty seconds of debt
        time.sleep(1)
        group.write("memory.swap.delay", 417)
        time.sleep(0.3)
        self.assert_rate(group, 417, "after 10000")
        group.write("memory.swap.delay", 0)
        time.sleep(0.3)
        charged, moved = group.charged(), group.stat(*MOVES)
        time.sleep(1)
        self.assertEqual(group.charged(), charged)
        self.assertGreater(group.stat(*MOVES) - moved, 2 * 2400)

    def test_range(self):
        group = self.group()
        self.assertEqual(group.read("memory.swap.delay"), "0")
        group.write("memory.swap.delay", 10000)
        for bad, number in (("10001", errno.ERANGE), ("18446744073709551615", errno.ERANGE), ("-1", errno.EINVAL),
                            ("max", errno.EINVAL), ("", errno.EINVAL)):
            with self.subTest(value=bad), self.assertRaises(OSError) as caught:
                with open(group.path / "memory.swap.delay", "wb", buffering=0) as file:
                    file.write(bad.encode() + b"\n")
            self.assertEqual(caught.exception.errno, number, bad)
        self.assertEqual(group.read("memory.swap.delay"), "10000")
        self.assertFalse((CGROUP / "memory.swap.delay").exists())

    def test_a_parent_bounds_the_sum_of_its_children(self):
        parent = self.group("parent", 200)
        parent.write("cgroup.subtree_control", "+memory")
        one = self.group("one", parent=parent.path)
        two = self.group("two", parent=parent.path)
        self.churn(one)
        self.churn(two)
        self.assert_rate(parent, 200, "sum of two children")
        one.write("memory.swap.delay", 1000)
        time.sleep(2)
        self.assert_rate(one, 1000, "the slower child")
        self.assert_rate(parent, 200, "the sum still")

    def test_reclaim_from_outside_costs_nobody(self):
        group = self.group(delay=10000)
        holder, _ = self.holder(group, 1024)
        before, began = group.charged(), time.monotonic()
        with contextlib.suppress(BlockingIOError):
            group.write("memory.reclaim", f"{1024 * PAGE} swappiness=200")
        took = time.monotonic() - began
        self.assertGreater(group.stat("pswpout", "swpout_zero", "zswpout"), 512)
        self.assertEqual(group.charged(), before)
        self.assertLess(took, 5, "1024 pages of 10 ms would be 10 s")
        self.assertIsNone(holder.poll())

    def test_reading_another_process_is_free(self):
        """By ptrace access from outside and from a task of the same cgroup."""
        group = self.group(delay=0)
        holder, address = self.holder(group, 1024)
        for where in (None, group):
            group.write("memory.swap.delay", 0)
            self.assertEqual(self.ask(holder, signal.SIGUSR1), "out")
            group.write("memory.swap.delay", 10000)
            before, moved, began = group.charged(), group.stat(*MOVES), time.monotonic()
            line = [self.swapper, "peek", str(holder.pid), hex(address), "1024"]
            reader = where.run(*line) if where else subprocess.Popen(line)
            self.assertEqual(reader.wait(), 0)
            took = time.monotonic() - began
            self.assertGreater(group.stat(*MOVES) - moved, 900)
            # the reader's own start may swap a page of its own
            self.assertLess(group.charged() - before, 64 if where else 1)
            self.assertLess(took, 6, "1024 pages of 10 ms would be 10 s")

    def test_the_owner_pays_for_the_same(self):
        """The counterpart of the two before: the same pages, moved by their owner."""
        group = self.group(delay=0)
        holder, _ = self.holder(group, 512)
        self.assertEqual(self.ask(holder, signal.SIGUSR1), "out")
        group.write("memory.swap.delay", 4000)
        before, began = group.charged(), time.monotonic()
        self.assertEqual(self.ask(holder, signal.SIGUSR2), "in")
        took = time.monotonic() - began
        self.assertGreaterEqual(group.charged() - before, 500)
        self.assertGreater(took, 1.9, "2.05 s less the credit")

    def test_waiting_is_memory_pressure(self):
        group = self.group(delay=1000)
        self.churn(group)
        time.sleep(0.5)
        before, began = group.stall(), time.monotonic()
        time.sleep(2)
        share = (group.stall() - before) / 1e6 / (time.monotonic() - began)
        self.assertGreater(share, 0.5)

    def test_a_sleeper_can_be_killed_and_frozen(self):
        group = self.group(delay=10000)
        holder, _ = self.holder(group, 1024)
        holder.send_signal(signal.SIGUSR1)  # ten seconds of debt
        time.sleep(0.5)
        began = time.monotonic()
        group.write("cgroup.freeze", 1)
        while "frozen 1" not in group.read("cgroup.events"):
            self.assertLess(time.monotonic() - began, 1, "freezing does not wait for the delay")
            time.sleep(0.01)
        group.write("cgroup.freeze", 0)
        began = time.monotonic()
        holder.kill()
        holder.wait()
        self.assertLess(time.monotonic() - began, 1)

    def test_swapped_pages_are_counted_per_cgroup(self):
        group = self.group()
        other = self.group("other")
        before = vmstat("pswpin", "pswpout")
        holder, _ = self.holder(group, 2048)
        self.ask(holder, signal.SIGUSR1)
        self.assertGreater(group.stat("pswpout"), 1900)
        self.ask(holder, signal.SIGUSR2)
        self.assertGreater(group.stat("pswpin"), 1900)
        self.assertAlmostEqual(group.stat("pswpin", "pswpout"), vmstat("pswpin", "pswpout") - before, delta=128)
        self.assertEqual(other.stat("pswpin", "pswpout"), 0)


def vmstat(*keys):
    lines = dict(line.split() for line in pathlib.Path("/proc/vmstat").read_text().splitlines())
    return sum(int(lines[key]) for key in keys)


def why_not():
    if not os.environ.get("VZ_LAB_NODE"):
        return "only in a guest of tests/lab/run"
    if len(pathlib.Path("/proc/swaps").read_text().splitlines()) < 2:
        return "no swap: tests/lab/run --swap 512M"
    probe = CGROUP / "probe"
    probe.mkdir()
    patched = (probe / "memory.swap.delay").exists()
    probe.rmdir()
    return None if patched else f"{os.uname().release} has no memory.swap.delay"


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    vzhost.main(private=False)

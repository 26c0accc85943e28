#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The BPF programs on a stock kernel: the price of virtual swap, sysinfo(2), private memory; loading and replacing them.

VZ_TEST_WITHOUT=vswap,sysinfo,privvm takes those programs away after each load: the tests must fail then.
"""
import ctypes
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import time
import unittest

import labguest
import vzbpf
from labguest import MIB, WITHOUT, Between
from vzbpf import NO_DELAY, PINS, Group, Pacer, Worker, compile_worker, programs, swap_speed, vmstat, vz_bpf, zero_swap_in_speed
from vzhost import BUILD, run, wait_for

MODULE = BUILD / "kmod" / os.uname().release / "vz.ko"
BEGAN = time.strftime("%Y-%m-%dT%H:%M:%S")  # what other tests made the kernel say is theirs
RAM, SWAP, WORK = 32 * MIB, 256 * MIB, 64  # the worker's 64 MiB are twice the RAM


def load(**kw):
    done = vz_bpf("load", **kw)
    gone = []
    for name in WITHOUT:
        for link in PINS.glob(f"link_{name}_*"):
            gone.append(vzbpf.program_of(link))
            link.unlink()
    # The kernel detaches them one after another, after that; without KVM, a second each.
    wait_for(lambda: not any(map(vzbpf.program_lives, gone)), 300, "the end of the programs")
    return done


def loaded_module():
    return pathlib.Path("/sys/module/vz").exists()


def runs_32_bit_programs():
    return re.search(r" __ia32_sys_exit_group\n", pathlib.Path("/proc/kallsyms").read_text())


class Programs(unittest.TestCase):
    """Everything is loaded, one group that stands for a container."""
    fastest = {}  # options of memory_worker -> pages per second without a limit: what this machine can do

    @classmethod
    def setUpClass(cls):
        if len(pathlib.Path("/proc/swaps").read_text().splitlines()) < 2:
            raise unittest.SkipTest("needs swap: tests/lab/run --swap 1G")
        if not loaded_module():
            if not MODULE.exists():
                raise unittest.SkipTest(f"no {MODULE}: tests/lab/kmod KERNEL builds it")
            run(["insmod", MODULE], check=0)
        compile_worker("memory_worker")
        compile_worker("map_worker")
        load(check=0)

    def group(self, ram=RAM, swap=SWAP, **kw):
        group = Group(ram, swap, **kw)
        self.addCleanup(group.remove)
        return group

    def most(self, *options):
        if options not in self.fastest:
            self.fastest[options] = swap_speed(self.group(), WORK, 1, 4, *options, rate=0)[1]
            print(f"# unlimited: {self.fastest[options]:.0f} pages/s {' '.join(options)}")
        return self.fastest[options]

    def reachable(self, rate, *options, part=0.4):
        """`rate`, or the part of what this machine can do that it reaches for sure: a kernel with KASAN is slow."""
        most = self.most(*options)
        if rate > part * most:
            print(f"# {part * most:.0f} instead of {rate} pages/s")
        return int(min(rate, part * most))


class Price(Programs):
    def check_rate(self, rate, threads, *options):
        most = self.most(*options)
        if most < 1.4 * rate:
            self.skipTest(f"this machine swaps {most:.0f} pages/s at most")
        self.hold(rate, threads, most,
                  lambda rate, pacer: swap_speed(self.group(), WORK, threads, 6, *options, rate=rate, pacer=pacer))

    def check_low_rate(self, rate, threads, *options):
        """One that every kernel shows, if need be a lower one."""
        self.check_rate(self.reachable(rate, *options), threads, *options)

    def hold(self, rate, threads, most, measure):
        """Within 5 %. Too fast is wrong at once. Too slow is tried again, and then measured by what the bucket alone lets
        through at the same time, on the other CPU: a busy host stops the guest for longer than any credit."""
        for beside in (False, False, True, True):
            pacer = Pacer(rate, most) if beside else None
            if pacer:
                self.addCleanup(pacer.process.kill)
            ours, kernels = measure(rate, pacer)
            possible = min(rate, pacer.speed) if pacer else rate
            print(f"# {rate} pages/s, {threads} threads: {ours:.0f} by the programs, {kernels:.0f} by the kernel"
                  + (f"; the bucket alone: {pacer.speed:.0f}" if pacer else ""))
            self.assertLess(max(ours, kernels), 1.05 * rate)
            if min(ours, kernels) > 0.95 * possible > 0.6 * rate:
                return
        self.assertLess(possible, 0.65 * rate, f"too slow four times: 95 % of {rate} pages/s, or of what was possible")
        self.skipTest(f"the host is busy: {ours:.0f} of {rate} pages/s, and {possible:.0f} by the bucket alone")

    def test_2400_one_thread(self):
        self.check_low_rate(2400, 1)

    def test_2400_four_threads(self):
        self.check_low_rate(2400, 4)

    def test_10000_one_thread(self):
        self.check_rate(10000, 1)

    def test_10000_four_threads(self):
        self.check_rate(10000, 4)

    def check_fast_rate(self, rate, threads):
        most = zero_swap_in_speed(self.group(8 * RAM), 1, 2, 0)[0]
        print(f"# unlimited: {most:.0f} pages/s in")
        if most < 1.15 * rate:
            self.skipTest(f"this machine moves {most:.0f} pages/s in at most")
        self.hold(rate, threads, most, lambda rate, pacer: zero_swap_in_speed(self.group(8 * RAM), threads, 4, rate, pacer))

    def test_25600_one_thread(self):
        self.check_fast_rate(25600, 1)

    def test_25600_four_threads(self):
        self.check_fast_rate(25600, 4)

    def test_100000_one_thread(self):
        self.check_fast_rate(100000, 1)

    def test_100000_four_threads(self):
        self.check_fast_rate(100000, 4)

    def test_reading_pays_as_well(self):
        self.check_low_rate(1000, 2, "read")

    def test_shared_memory_pays_as_well(self):
        self.check_low_rate(1000, 2, "shared")

    def test_on_all_cpus_it_is_never_faster(self):
        rate = self.reachable(200)
        ours, kernels = swap_speed(self.group(), WORK, 4, 5, rate=rate, cpus=None)
        self.assertLess(max(ours, kernels), 1.05 * rate)
        self.assertAlmostEqual(ours, kernels, delta=10)

    def test_an_outer_container_limits_all_inner_ones(self):
        """Two at 1 000 000 pages/s each, in one at 1500: that one is below its own limit and pays for what comes in."""
        rate = self.reachable(1500, part=0.2)
        outer = self.group(8 * RAM, 8 * SWAP)
        (outer.path / "cgroup.subtree_control").write_text("+memory")
        inner = [self.group(parent=outer.path) for _ in range(2)]
        workers = [Worker(group, WORK, 1, 5) for group in inner]
        outer.configure(rate=rate)
        for group in inner:
            group.configure(rate=1000000)
        began = time.monotonic()
        for worker in workers:
            worker.go()
        for worker in workers:
            worker.end()
        passed = time.monotonic() - began
        states = [group.state() for group in inner]
        self.assertEqual(outer.state().swapin, sum(state.swapin for state in states))
        self.assertEqual(outer.state().swapout, 0)
        self.assertLess(outer.state().swapin / passed, 1.05 * rate)
        self.assertGreater(outer.state().swapin / passed, 0.8 * rate)

    def test_below_ram_nothing_is_paid(self):
        group, speeds = self.group(4 * RAM), {}
        for rate in (0, 10):
            group.configure(rate=rate)
            speeds[rate] = Worker(group, WORK, 2, 2).go().end()
        self.assertGreater(speeds[10], speeds[0] / 3, "pages touched per second")
        state = group.state()
        self.assertEqual((state.swapped, state.delayed_ns), (0, 0))

    def test_below_ram_no_program_runs_for_a_page_fault(self):
        """What it costs without a clock: how often programs run while a container takes its memory and gives it back."""
        stats = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")
        self.addCleanup(stats.write_text, stats.read_text())
        stats.write_text("1")
        group = self.group(4 * RAM)
        group.configure(rate=10)
        code = f"""
import mmap, resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def touch(memory):
    for at in range(0, {RAM}, {vzbpf.PAGE}):
        memory[at] = 1
def area():
    memory = mmap.mmap(-1, {RAM}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
same = area()
touch(same)
for fresh in (False, True):
    print("ready", flush=True)
    input()
    before = faults()
    for _ in range(4):
        if fresh:
            memory = area()
            touch(memory)
            memory.close()
        else:
            same.madvise(mmap.MADV_DONTNEED)
            touch(same)
    print(faults() - before, flush=True)
"""
        child = group.spawn(sys.executable, "-c", code)
        for what in ("the same memory again", "new memory"):
            self.assertEqual(child.stdout.readline().strip(), "ready")
            first, before = vzbpf.run_counts(), vzbpf.run_counts()  # to read them opens files, which programs count
            child.stdin.write("\n")
            child.stdin.flush()
            faults = int(child.stdout.readline())
            runs = {name: count - 2 * before[name] + first[name] for name, count in vzbpf.run_counts().items()}
            runs = {name: count for name, count in runs.items() if count > 0}
            print(f"# {what}: {faults} page faults, {sum(runs.values())} runs of programs: {runs}")
            self.assertGreaterEqual(faults, 4 * RAM // vzbpf.PAGE)
            self.assertLess(sum(runs.values()), faults / 100, runs)
        self.assertEqual(group.state().swapped, 0)

    def test_a_neighbour_pays_nothing(self):
        rate = self.reachable(500, part=0.1)
        payer, free = self.group(), self.group()
        thrashing = [Worker(payer, WORK, 4, 5), Worker(free, WORK, 1, 4)]
        payer.configure(rate=rate)
        began, before = time.monotonic(), vmstat("pswpin", "pswpout")
        thrashing[0].go()
        thrashing[1].go().end()
        passed = time.monotonic() - began
        theirs = vmstat("pswpin", "pswpout") - before - payer.state().swapped
        thrashing[0].end()
        self.assertLess(payer.state().swapped / (time.monotonic() - began), 1.1 * rate)
        self.assertGreater(theirs / passed, 3 * rate)

    def test_no_delay_flag(self):
        rate, group = self.reachable(1000), self.group()
        worker = Worker(group, WORK, 2, 3)
        group.configure(rate=rate // 10, flags=NO_DELAY)
        before = group.state().swapped
        worker.go().end()
        state = group.state()
        self.assertGreater(state.swapped - before, 3 * rate)
        self.assertEqual(state.delayed_ns, 0)
        worker = Worker(group, WORK, 2, 3)  # the same group pays when the flag is gone
        group.configure(rate=rate)
        before = group.state().swapped
        worker.go().end()
        self.assertLess(group.state().swapped - before, 4 * rate)
        self.assertGreater(group.state().delayed_ns, 2e9)

    def test_foreign_reclaim_is_not_paid(self):
        group = self.group(8 * RAM)
        worker = Worker(group, WORK, 1, 1)
        group.configure(rate=10)
        began = time.monotonic()
        group.reclaim(RAM)
        passed = time.monotonic() - began
        self.assertGreater(group.number("memory.swap.current"), RAM / 2)
        self.assertLess(passed, RAM / 2 / vzbpf.PAGE / 10 / 4, "a quarter of what those pages cost at this rate")
        self.assertEqual(group.state().swapped, 0)
        group.configure(rate=0)
        worker.go().end()

    def test_kswapd_is_not_paid(self):
        """The host itself runs short: kswapd swaps a container out that is far below its limit."""
        group = self.group(1024 * MIB, None)
        worker = Worker(group, 256, 1, 1)
        group.configure(rate=10)
        hog = self.group(None, 0)
        by_kswapd, wanted = vmstat("pgsteal_kswapd"), 32 * MIB
        size = int(re.search(r"MemFree:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) // 1024
        Worker(hog, size, 1, 1)
        while group.number("memory.swap.current") < wanted and hog.number("memory.current") < (size + 600) * MIB:
            Worker(hog, 24, 1, 1)
        self.assertGreater(group.number("memory.swap.current"), wanted)
        self.assertGreater(vmstat("pgsteal_kswapd"), by_kswapd)
        self.assertEqual(group.state().swapped, 0)
        hog.kill()
        group.configure(rate=0)
        worker.go().end()

    def read_memory(self, worker, reader):
        """process_vm_readv of the worker's first 32 MiB, in `reader` (a function that starts a process)."""
        code = f"""
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
size = {RAM}
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(1 << 20)
began, done = time.monotonic(), 0
while done < size:
    here, there = Vector(ctypes.addressof(buffer), 1 << 20), Vector({worker.address} + done, 1 << 20)
    got = libc.process_vm_readv({worker.process.pid}, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    assert got > 0, ctypes.get_errno()
    done += got
print(time.monotonic() - began)
"""
        status, out = reader(sys.executable, "-c", code)
        self.assertEqual(status, 0)
        return float(out)

    def check_remote(self, *options):
        group = self.group(8 * RAM)
        worker = Worker(group, WORK, 1, 1, *options)

        def outside(*argv):
            done = run(argv)
            return done.rc, done.out

        for name, reader in (("outside", outside), ("inside", group.run)):
            with self.subTest(reader=name):
                group.configure(rate=0)
                # Pages that were just read are spared a first time, by some kernels.
                wait_for(lambda: group.reclaim(2 * RAM) or group.number("memory.current") < RAM, what="pages in swap")
                group.configure(rate=100)
                before, pages = group.state(), vmstat("pswpin")
                passed = self.read_memory(worker, reader)
                came_in = vmstat("pswpin") - pages
                self.assertGreater(came_in, 2000, "the reader has to bring pages in")
                # the reader inside is a Python whose own few pages may have been swapped out with the worker's
                self.assertLess(group.state().swapin - before.swapin, 0.1 * came_in)
                self.assertLess(passed, came_in / 100 / 2)
        group.configure(rate=0)
        worker.go().end()

    def test_remote_readers_pay_nothing(self):
        self.check_remote()

    def test_remote_readers_of_shared_memory_pay_nothing(self):
        self.check_remote("shared")

    def test_kill_ends_a_sleep(self):
        group = self.group()
        Worker(group, WORK, 4, 60).go()
        group.configure(rate=5)
        time.sleep(2)
        began = time.monotonic()
        group.kill()
        self.assertLess(time.monotonic() - began, 3)


class Sysinfo(Programs):
    FORM = "=q3Q4Q2QHHxxxx2QI"
    CODE = """
import ctypes, sys
buffer = ctypes.create_string_buffer(128)
assert ctypes.CDLL(None).sysinfo(buffer) == 0
sys.stdout.write(buffer.raw.hex())
"""

    def ask(self, group=None):
        argv = [sys.executable, "-c", self.CODE]
        out = group.run(*argv)[1] if group else run(argv, check=0).out
        fields = struct.unpack_from(self.FORM, bytes.fromhex(out))
        names = ("uptime", "load1", "load5", "load15", "totalram", "freeram", "sharedram", "bufferram", "totalswap",
                 "freeswap", "procs", "pad", "totalhigh", "freehigh", "mem_unit")
        return dict(zip(names, fields))

    def test_inside_shows_ram_and_swap(self):
        group = self.group(48 * MIB, 80 * MIB)
        group.configure(boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 5_000_000_000)
        worker = Worker(group, WORK, 1, 1)
        swapped = Between(lambda: group.number("memory.swap.current"))
        seen = self.ask(group)
        used = 80 * MIB - seen["freeswap"]
        swapped.check(self, used, 4 * MIB)
        host = self.ask()
        self.assertEqual((seen["totalram"], seen["totalswap"], seen["bufferram"]), (48 * MIB, 80 * MIB, 0))
        self.assertGreater(used, 10 * MIB)
        self.assertLess(seen["freeram"], 16 * MIB)
        self.assertIn(seen["uptime"], range(5, 15))
        self.assertEqual(seen["procs"], 2)  # the worker and the one that asks
        self.assertGreater(host["totalram"], 500 * MIB)
        self.assertGreater(host["totalswap"], 500 * MIB)
        worker.go().end()

    def test_an_outer_limit_bounds(self):
        outer = self.group(None, None)
        (outer.path / "cgroup.subtree_control").write_text("+memory")
        inner = self.group(256 * MIB, None, parent=outer.path)
        outer.limit(96 * MIB, 32 * MIB)
        inner.configure()
        seen = self.ask(inner)
        self.assertEqual((seen["totalram"], seen["totalswap"]), (96 * MIB, 32 * MIB))

    def test_without_limits_the_host_bounds(self):
        group = self.group(None, None)
        group.configure()
        seen, host = self.ask(group), self.ask()
        self.assertEqual((seen["totalram"], seen["totalswap"]), (host["totalram"], host["totalswap"]))

    def test_a_group_that_is_no_container_sees_the_host(self):
        seen, host = self.ask(self.group()), self.ask()
        self.assertEqual(seen["totalram"], host["totalram"])
        self.assertGreater(seen["procs"], 3)

    def test_bad_addresses_stay_errors(self):
        group = self.group()
        group.configure()
        code = "import ctypes; print(ctypes.CDLL(None).sysinfo(ctypes.c_void_p(8)))"
        self.assertEqual(group.run(sys.executable, "-c", code), (0, "-1\n"))

    def test_32_bit_programs(self):
        if not runs_32_bit_programs():
            self.skipTest("this kernel runs no 32-bit programs")
        source, program = pathlib.Path("/tmp/sysinfo32.c"), pathlib.Path("/tmp/sysinfo32")
        source.write_text("""
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
  unsigned *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  int ret;
  __asm__ volatile("int $0x80" : "=a"(ret) : "a"(116), "b"((unsigned)(unsigned long)at) : "memory");
  printf("%d %u %u %u\\n", ret, at[4], at[8], at[13]);
  return 0;
}
""")
        run(["gcc", "-o", program, source], check=0)
        group = self.group(48 * MIB, 80 * MIB)
        group.configure()
        ret, ram, swap, unit = map(int, group.run(program)[1].split())
        self.assertEqual((ret, ram * unit, swap * unit), (0, 48 * MIB, 80 * MIB))


class PrivateMemory(Programs):
    def ask(self, group, *words):
        """One request of map_worker: its answer. The process lives on until the group is killed."""
        child = group.spawn(compile_worker("map_worker"), *words)
        return child.stdout.readline().strip()

    def empty_group(self, **conf):
        group = self.group(512 * MIB, 0)
        group.configure(**conf)
        return group

    def settled(self, group, timeout=10):
        """held, once what has exited is gone."""
        wait_for(lambda: group.state().held == group.private_pages(), timeout,
                 f"held {group.state().held} to be VmData {group.private_pages()}")
        return group.state().held

    def test_held_is_what_the_kernel_counts(self):
        group = self.empty_group()
        for seed in range(4):
            child = group.spawn(compile_worker("map_worker"), "hold", seed)
            self.assertEqual(child.stdout.readline().strip(), "ready")
        self.assertGreater(self.settled(group), 4 * 100)
        self.assertGreaterEqual(group.state().maxheld, group.state().held)
        group.kill()
        self.assertEqual(self.settled(group), 0)
        self.assertEqual(group.state().failcnt, 0)

    def test_fork_and_exec_and_exit_return_everything(self):
        group = self.empty_group()
        done = [group.spawn(compile_worker("map_worker"), "mix", seed, 400) for seed in range(3)]
        for child in done:
            child.communicate(timeout=120)
        self.assertEqual([child.returncode for child in done], [0, 0, 0])
        self.assertEqual(self.settled(group), 0)
        self.assertGreater(group.state().maxheld, 1000)

    def test_killed_while_it_maps(self):
        group = self.empty_group()
        for seed in range(6):
            group.spawn(compile_worker("map_worker"), "mix", 100 + seed, 100000)
        wait_for(lambda: group.state().held > 1000, what="some memory held")
        time.sleep(1)
        group.kill()
        self.assertEqual(self.settled(group), 0)

    def test_over_the_limit_is_enomem(self):
        group = self.empty_group(privvm=64 * MIB // vzbpf.PAGE)
        self.assertEqual(self.ask(group, "mmap", 16), "ok")
        for what in ("mmap", "brk"):
            with self.subTest(what):
                failed = group.state().failcnt
                self.assertEqual(self.ask(group, what, 100), "ENOMEM")
                self.assertGreater(group.state().failcnt, failed)
        self.assertEqual(self.ask(group, "fork", 30), "ENOMEM")
        self.assertLessEqual(group.state().maxheld, 64 * MIB // vzbpf.PAGE)
        group.kill()
        self.assertEqual(self.settled(group), 0)

    def test_page_faults_and_shared_memory_are_not_refused(self):
        group = self.empty_group()
        for what, expected in (("stack", "ok"), ("shared", "ok"), ("mmap", "ENOMEM")):
            with self.subTest(what):
                group.configure()
                child = group.spawn(compile_worker("map_worker"), what, 6, "later")
                self.assertEqual(child.stdout.readline().strip(), "ready")
                group.configure(privvm=1)  # less than it has
                child.stdin.write("\n")
                child.stdin.flush()
                self.assertEqual(child.stdout.readline().strip(), expected)

    def test_two_that_ask_at_the_same_time_do_not_both_get_the_last(self):
        limit = 200 * MIB // vzbpf.PAGE
        group = self.empty_group(privvm=limit)
        children = [group.spawn(compile_worker("map_worker"), "mmap", 30) for _ in range(12)]
        answers = [child.stdout.readline().strip() for child in children]
        self.assertEqual(set(answers), {"ok", "ENOMEM"})
        self.assertLessEqual(group.state().maxheld, limit)
        self.assertLessEqual(self.settled(group), limit)

    def test_raising_the_limit_takes_effect_at_once(self):
        group = self.empty_group(privvm=32 * MIB // vzbpf.PAGE)
        self.assertEqual(self.ask(group, "mmap", 64), "ENOMEM")
        group.configure(privvm=128 * MIB // vzbpf.PAGE)
        self.assertEqual(self.ask(group, "mmap", 64), "ok")

    def test_outside_nothing_is_counted_or_refused(self):
        group = self.group(512 * MIB, 0)  # no configuration
        self.assertEqual(self.ask(group, "mmap", 100), "ok")


class Zz_Loading(Programs):
    """Last: the end of it is a kernel that is locked down."""

    def test_a_all_are_attached(self):
        found = programs(vz_bpf("status"))
        if not WITHOUT:
            missing = [name for name, program in found.items()
                       if not program["attached"] and not program["reason"].startswith("not needed")]
            self.assertEqual(missing, [])
        self.assertIn("vswap_in", found)

    def test_b_reload_under_load_keeps_counters_and_rate(self):
        rate, group = self.reachable(1200, part=0.2), self.group()
        worker = Worker(group, WORK, 4, 300)
        group.configure(rate=rate)
        counts, began = [group.state().swapped], time.monotonic()
        worker.go()
        for _ in range(3):
            loading = time.monotonic()
            load(check=0)
            print(f"# a load took {time.monotonic() - loading:.1f} s")
            counts.append(group.state().swapped)
        passed = time.monotonic() - began
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(counts[-1] - counts[0], 0.6 * rate * passed)  # loading takes the CPU as well
        self.assertLess(counts[-1] - counts[0], 1.05 * rate * passed)

    def test_c_reload_keeps_private_memory(self):
        group = self.group(512 * MIB, 0)
        group.configure()
        child = group.spawn(compile_worker("map_worker"), "mix", 3, 1000000)
        for _ in range(3):
            load(check=0)
        self.assertIsNone(child.poll())
        group.kill()
        wait_for(lambda: group.state().held == 0, what=f"held {group.state().held} to be 0")

    def test_d_killed_loads_leave_one_set_of_programs(self):
        for number in range(10):
            child = subprocess.Popen([vzbpf.VZ_BPF, "load"], stdout=subprocess.DEVNULL)
            time.sleep(0.1 + 0.2 * number)
            child.send_signal(signal.SIGKILL)
            child.wait()
        load(check=0)
        self.assertEqual([pin.name for pin in PINS.glob("new_*")], [])
        group = self.group()
        worker = Worker(group, WORK, 1, 4)
        group.configure(rate=2400)
        before, kernel = group.state().swapped, vmstat("pswpin", "pswpout")
        worker.go().end()
        # two sets at work would count everything twice
        self.assertAlmostEqual(group.state().swapped - before, vmstat("pswpin", "pswpout") - kernel, delta=500)

    def test_e_two_loads_at_a_time(self):
        children = [subprocess.Popen([vzbpf.VZ_BPF, "load"], stdout=subprocess.DEVNULL) for _ in range(3)]
        self.assertEqual([child.wait(timeout=120) for child in children], [0, 0, 0])
        self.assertEqual([pin.name for pin in PINS.glob("new_*")], [])

    def test_f_unload_and_load(self):
        vz_bpf("unload", check=0)
        self.assertFalse(PINS.exists())
        self.assertEqual(vz_bpf("status").rc, 1)
        load(check=0)
        vz_bpf("unload", check=0)
        vz_bpf("unload", check=0)
        load(check=0)

    def test_g_not_on_a_bpf_file_system(self):
        done = vz_bpf("load", "--pin-dir", "/tmp/pins")
        self.assertEqual(done.rc, 1)
        self.assertIn("not on a BPF file system", done.err)

    def test_h_without_privileges(self):
        done = run(["setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set", "-all", vzbpf.VZ_BPF, "load"])
        self.assertEqual(done.rc, 1, repr(done))
        self.assertRegex(done.out, "Permission denied|needs root")

    def test_i_maps_of_another_layout(self):
        vz_bpf("unload", check=0)
        PINS.mkdir(parents=True)
        path = ctypes.create_string_buffer(str(PINS / "vz_state").encode())
        fd = vzbpf.bpf(0, struct.pack("=5I", 1, 8, 56, 8192, 1))  # BPF_MAP_CREATE: values of 56 bytes
        vzbpf.bpf(6, struct.pack("=QI", ctypes.addressof(path), fd))  # BPF_OBJ_PIN
        os.close(fd)
        found = programs(vz_bpf("load"))
        vz_bpf("unload", check=0)
        load(check=0)
        self.assertFalse(any(program["attached"] for program in found.values()))
        self.assertIn("another layout", found["vswap_in"]["reason"])

    def test_x_without_the_module(self):
        vz_bpf("unload", check=0)
        # the kernel frees programs, and lets go of the module, a while after the last pin is gone
        wait_for(lambda: run(["rmmod", "vz"]).rc == 0, 60, "the end of vz.ko")
        found = programs(vz_bpf("load", check=3))
        wrong = [name for name, program in found.items() if program["attached"] == name.startswith("vswap")
                 and not program["reason"].startswith("not needed")]
        self.assertEqual(wrong, [])
        self.assertIn("vz.ko is not loaded", found["vswap_in"]["reason"])
        run(["insmod", MODULE], check=0)
        self.assertTrue(programs(vz_bpf("load", check=0))["vswap_in"]["attached"])

    def test_y_nothing_in_the_kernel_log(self):
        log = run(["dmesg", "--since", BEGAN], check=0).out
        bad = re.compile(r"BUG|WARNING:|Oops|Call Trace|general protection|hung task|blocked for more|lockdep|refcount")
        self.assertEqual([line for line in log.splitlines() if bad.search(line)], [])

    def test_z_locked_down(self):
        lockdown = pathlib.Path("/sys/kernel/security/lockdown")
        if not lockdown.exists():
            self.skipTest("no lockdown in this kernel")
        lockdown.write_text("integrity")
        kept = programs(vz_bpf("load"))
        self.assertIn("locked down", kept["sysinfo_native"]["reason"])
        self.assertTrue(kept["sysinfo_native"]["attached"], "what was loaded before goes on")
        vz_bpf("unload", check=0)
        found = programs(vz_bpf("load", check=3))
        self.assertIn("locked down (integrity", found["sysinfo_native"]["reason"])
        wrong = [name for name, program in found.items() if program["attached"] == name.startswith("sysinfo")
                 and not program["reason"].startswith("not needed")]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    labguest.main(private=False)

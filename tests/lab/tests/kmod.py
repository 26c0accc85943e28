#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vz.ko by itself: delays, registry, vzfs, OOM events, and that nothing of it hurts the kernel.

Needs a guest of tests/lab/run and the module from tests/lab/kmod. The delays are asked for by delayer.c, not by the
programs of bpf/, so that what fails here fails in the module.
"""
import errno
import os
import pathlib
import random
import re
import signal
import subprocess
import time
import unittest

import labguest
import vzhost
import vzmodule
import vznetlink
from labguest import CGROUP, MIB, Between
from vzhost import run, wait_for
from vznetlink import ADD, DEL, GET, INFO, SET

DELAYER = pathlib.Path("/run/vz-delayer")
VZFS = pathlib.Path("/run/vzfs")
MS = 1_000_000
SECOND = 1000 * MS
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def build_delayer():
    source = pathlib.Path(__file__).with_name("delayer.c")
    run(["gcc", "-O1", "-o", DELAYER, source, "-lpthread"], check=0)


def complaints():
    """What no module may make the kernel say."""
    bad = re.compile(r"BUG: |WARNING: |Oops: |general protection|blocked for more than|possible .* detected|"
                     r"detected stall|memory leak|corrupt|scheduling while atomic|sleeping function|refcount_t: ")
    return [line for line in run(["dmesg"]).out.splitlines() if bad.search(line) and "WATCHDOG" not in line]


def pressure():
    """Microseconds in which some task of the host waited for memory."""
    return int(re.search(r"some .*total=(\d+)", pathlib.Path("/proc/pressure/memory").read_text())[1])


class Hook:
    """getpgid(NS) delays its caller while this lives."""

    def __enter__(self):
        self.process = subprocess.Popen([DELAYER, "hook"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise AssertionError("delayer could not attach")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def slept(nanoseconds):
    """How long getpgid(nanoseconds) took."""
    return int(run([DELAYER, "sleep", nanoseconds], check=0).out)


def sleeper(nanoseconds, **kw):
    return subprocess.Popen([DELAYER, "sleep", str(nanoseconds)], stdout=subprocess.PIPE, **kw)


def load_of(threads, nanoseconds, seconds):
    """At a low priority: undelayed, its threads only spin."""
    return subprocess.Popen(["nice", "-n", "19", DELAYER, "load", str(threads), str(nanoseconds), str(seconds)], stdout=subprocess.PIPE)


def end(process):
    process.kill()
    process.communicate()


def unload(timeout=20):
    """rmmod as soon as the kernel has freed the last BPF program that calls the module."""
    wait_for(lambda: run(["rmmod", "vz"]).rc == 0, timeout, "rmmod vz")


class Group:
    """A container as vz.ko knows it: a cgroup with limits, and one inside where the tasks are."""

    def __init__(self, test, name="a", **limits):
        for parent in (CGROUP, CGROUP / "vz.slice"):
            parent.mkdir(exist_ok=True)
            (parent / "cgroup.subtree_control").write_text("+memory +cpu +pids")
        self.path = CGROUP / "vz.slice" / f"test-{os.getpid()}-{name}"
        self.inner = self.path / "inner"
        self.inner.mkdir(parents=True)
        for file, limit in limits.items():
            (self.path / file.replace("_", ".", 1).replace("swap_", "swap.")).write_text(str(limit))
        self.id = self.path.stat().st_ino
        test.addCleanup(self.remove)

    def command(self, *argv, stdout=None, **kw):
        script = f'echo $$ > {self.inner}/cgroup.procs && exec "$@"'
        return subprocess.Popen(["sh", "-c", script, "sh", *map(str, argv)], stdout=stdout or subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, **kw)

    def output(self, *argv):
        process = self.command(*argv)
        out = process.communicate(timeout=120)[0]
        if process.returncode:
            raise AssertionError(f"{argv}: {process.returncode}\n{out}")
        return out

    def read(self, name):
        return self.output("cat", VZFS / name)

    def remove(self):
        for path in (self.inner, self.path):
            if path.exists():
                (path / "cgroup.kill").write_text("1")
                wait_for(lambda p=path: "populated 0" in (p / "cgroup.events").read_text(), 10, "an empty cgroup")
                path.rmdir()


def table(text):
    """`Key:  value kB` lines."""
    return {key: int(value.split()[0]) for key, value in (line.split(":") for line in text.splitlines())}


class ModuleTest(unittest.TestCase):
    def setUp(self):
        if not vzmodule.loaded():
            vzmodule.load()
        self.genl = vznetlink.Genl()
        self.addCleanup(lambda: self.genl.close())  # not bound: a test may take another

    def register(self, group, ctid=101, **fields):
        self.genl.do(ADD, cgroup_id=group.id, ctid=ctid, **fields)
        self.addCleanup(self.forget, group)

    def forget(self, group):
        try:
            self.genl.do(DEL, cgroup_id=group.id)
        except (vznetlink.NetlinkError, OSError):
            pass

    def refused(self, error, command, **fields):
        with self.assertRaises(vznetlink.NetlinkError) as caught:
            self.genl.do(command, **fields)
        self.assertEqual(caught.exception.errno, error, caught.exception)
        return caught.exception.message


class Loading(ModuleTest):
    def test_info(self):
        info = self.genl.do(INFO)
        self.assertEqual(info["abi"], 1)
        self.assertRegex(info["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual((info["nr_cts"], info["nr_sleepers"]), (0, 0))

    def test_again_and_again(self):
        for _ in range(10):
            self.genl.close()
            unload()
            self.assertFalse(pathlib.Path("/sys/kernel/btf/vz").exists())
            vzmodule.load()
            self.genl = vznetlink.Genl()

    def test_registered_containers_do_not_hold_it(self):
        self.register(Group(self))
        self.genl.close()
        unload()
        vzmodule.load()
        self.genl = vznetlink.Genl()
        self.assertEqual(self.genl.dump(), [])


class Delay(ModuleTest):
    def test_length(self):
        with Hook():
            for wanted in (20 * MS, 200 * MS, SECOND):
                self.assertGreaterEqual(slept(wanted), wanted)
                self.assertLess(min(slept(wanted) for _ in range(3)), wanted + 60 * MS)

    def test_too_short_to_sleep(self):
        before = pressure()
        with Hook():
            load_of(1, 20_000, 2).communicate()
        self.assertLess(pressure() - before, 20_000)

    def test_never_longer_than_thirty_seconds(self):
        with Hook():
            sleepers = [sleeper(wanted) for wanted in (60 * SECOND, 1 << 62, (1 << 64) - 1_000_000 * SECOND)]
            for process in sleepers:
                took = int(process.communicate()[0])
                self.assertTrue(29.9 * SECOND < took < 35 * SECOND, took)

    def test_two_debts_are_one_sleep(self):
        """The later deadline counts: a deadline has all earlier debts in it."""
        with Hook(), Hook():
            self.assertTrue(500 * MS <= slept(500 * MS) < 800 * MS)

    def test_memory_stall(self):
        before = pressure()
        with Hook():
            slept(500 * MS)
        self.assertGreaterEqual(pressure() - before, 300_000)

    def test_killable(self):
        with Hook():
            process = sleeper(2 * SECOND)
            wait_for(lambda: self.genl.do(INFO)["nr_sleepers"] == 1, 10, "a sleeper")
            began = time.monotonic()
            process.kill()
            process.wait()
            self.assertLess(time.monotonic() - began, 0.7)
            self.assertEqual(self.genl.do(INFO)["nr_sleepers"], 0)
            process.stdout.close()

    def test_deleted_while_asleep(self):
        group = Group(self)
        self.register(group)
        with Hook():
            processes = [group.command(DELAYER, "sleep", 15 * SECOND) for _ in range(20)]
            wait_for(lambda: self.genl.do(INFO)["nr_sleepers"] >= 10, 15, "sleepers")
            asleep = self.genl.do(INFO)["nr_sleepers"]
            began = time.monotonic()
            self.genl.do(DEL, cgroup_id=group.id)
            wait_for(lambda: self.genl.do(INFO)["nr_sleepers"] <= 20 - asleep, 5, "their end")
            self.assertLess(time.monotonic() - began, 1.0)
            for process in processes:
                process.communicate()

    def test_no_delay_flag(self):
        """What freezing and checkpointing need: sleepers wake, and nobody sleeps again until the flag is gone."""
        group = Group(self)
        self.register(group)
        with Hook():
            process = group.command(DELAYER, "sleep", 2 * SECOND)
            wait_for(lambda: self.genl.do(INFO)["nr_sleepers"] == 1, 10, "a sleeper")
            self.genl.do(SET, cgroup_id=group.id, flags=1)
            self.assertLess(int(process.communicate()[0]), 1500 * MS)
            self.assertLess(int(group.output(DELAYER, "sleep", 2 * SECOND)), 1500 * MS)
            self.genl.do(SET, cgroup_id=group.id, flags=0)
            self.assertGreaterEqual(int(group.output(DELAYER, "sleep", 300 * MS)), 300 * MS)

    def test_others_sleep_on(self):
        """Deleting one container wakes no task of another."""
        one, other = Group(self, "one"), Group(self, "other")
        self.register(one, 101)
        self.register(other, 102)
        with Hook():
            process = other.command(DELAYER, "sleep", 1500 * MS)
            wait_for(lambda: self.genl.do(INFO)["nr_sleepers"] == 1, 10, "a sleeper")
            self.genl.do(DEL, cgroup_id=one.id)
            self.assertGreaterEqual(int(process.communicate()[0]), 1500 * MS)

    def test_unload_under_load(self):
        """Refused while a task owes, and harmless as soon as it is allowed: the tasks run on."""
        for _ in range(5):
            load = load_of(12, 30 * MS, 600)
            with Hook():
                time.sleep(0.5)
                self.assertNotEqual(run(["rmmod", "vz"]).rc, 0)
            unload()
            self.assertIsNone(load.poll())
            vzmodule.load()
            end(load)
        self.genl = vznetlink.Genl()

    def test_killed_while_loading(self):
        """Tasks that die in all states of a delay."""
        with Hook():
            for _ in range(20):
                load = load_of(30, random.choice((MS, 100 * MS)), 60)
                time.sleep(random.random() / 5)
                end(load)
            wait_for(lambda: self.genl.do(INFO)["nr_sleepers"] == 0, 5, "no sleepers")


class Registry(ModuleTest):
    def test_life_of_a_container(self):
        group = Group(self)
        self.register(group, 7, name="web", cpus=2, boot_ns=5)
        wanted = {"cgroup_id": group.id, "ctid": 7, "name": "web", "cpus": 2, "boot_ns": 5, "flags": 0}
        self.assertEqual(self.genl.do(GET, cgroup_id=group.id), wanted)
        self.assertEqual(self.genl.dump(), [wanted])
        self.genl.do(SET, cgroup_id=group.id, cpus=1, name="x")
        self.assertEqual(self.genl.do(GET, cgroup_id=group.id), wanted | {"cpus": 1, "name": "x"})
        self.genl.do(DEL, cgroup_id=group.id)
        self.assertEqual(self.genl.dump(), [])

    def test_refusals(self):
        group = Group(self)
        self.register(group)
        self.assertIn("already", self.refused(errno.EEXIST, ADD, cgroup_id=group.id, ctid=1))
        self.assertIn("no cgroup", self.refused(errno.ENOENT, ADD, cgroup_id=1 << 60, ctid=1))
        for command in (SET, DEL, GET):
            self.assertIn("no container", self.refused(errno.ENOENT, command, cgroup_id=1 << 60))
            self.refused(errno.EINVAL, command)
        self.refused(errno.EINVAL, ADD, cgroup_id=group.id)
        self.refused(errno.ERANGE, ADD, cgroup_id=group.id, ctid=0)
        self.refused(errno.ERANGE, SET, cgroup_id=group.id, ctid=1 << 31)
        self.refused(errno.EINVAL, SET, cgroup_id=group.id, name="n" * 64)
        self.refused(errno.EINVAL, SET, cgroup_id=group.id, name="a\nb")
        self.refused(errno.EINVAL, SET, cgroup_id=group.id, flags=2)
        self.refused(errno.EINVAL, SET, cgroup_id=group.id, boot_ns=1 << 63)
        self.refused(errno.EINVAL, SET, cgroup_id=group.id, pid=1)  # an attribute of events
        self.refused(errno.EINVAL, INFO, cgroup_id=group.id)
        self.refused(errno.EOPNOTSUPP, 6)
        self.refused(errno.EOPNOTSUPP, 99)

    def test_unprivileged(self):
        """Neither nobody, nor root of a user namespace."""
        script = ("import sys; sys.path.insert(0, sys.argv[1])\n"
                  "import vznetlink as n\n"
                  "g = n.Genl()\n"
                  "for command in (n.INFO, n.ADD, n.SET, n.DEL, n.GET):\n"
                  "  try: g.do(command, **({} if command == n.INFO else dict(cgroup_id=1)))\n"
                  "  except OSError as e: print(e.errno)\n"
                  "for call in (g.dump, g.join):\n"
                  "  try: call(); print('allowed')\n"
                  "  except OSError as e: print(e.errno)\n")
        here = pathlib.Path(__file__).parent
        for prefix in (NOBODY, ["unshare", "-Ur"], [*NOBODY, "unshare", "-Ur"]):
            out = run([*prefix, "python3", "-c", script, here], check=0).out.split()
            self.assertEqual(out, [str(errno.EPERM)] * 7, prefix)

    def test_not_in_another_network_namespace(self):
        script = "import sys; sys.path.insert(0, sys.argv[1]); import vznetlink; vznetlink.Genl()"
        result = run(["unshare", "-n", "python3", "-c", script, pathlib.Path(__file__).parent])
        self.assertIn("No such file", result.err)

    def test_two_hundred(self):
        groups = [Group(self, str(n)) for n in range(200)]
        for n, group in enumerate(groups):
            self.register(group, n + 1, name=f"{n:063}")
        self.assertEqual(self.genl.do(INFO)["nr_cts"], 200)
        self.assertEqual(sorted(ct["ctid"] for ct in self.genl.dump()), list(range(1, 201)))
        for group in groups[::2]:
            self.genl.do(DEL, cgroup_id=group.id)
        self.assertEqual(len(self.genl.dump()), 100)

    def test_dead_cgroups_are_forgotten(self):
        groups = [Group(self, str(n)) for n in range(20)]
        for n, group in enumerate(groups):
            self.register(group, n + 1)
        for group in groups[:15]:
            group.remove()
        wait_for(lambda: len(self.genl.dump()) == 5, 15, "15 dead entries to go")

    def test_fuzz(self):
        """Whatever is sent, the kernel answers or refuses; it keeps what it knew."""
        group = Group(self)
        self.register(group, 7, name="kept")
        chance = random.Random(int(os.environ.get("VZ_SEED", "1")))
        self.genl.socket.settimeout(0)
        for _ in range(6000):
            flags = chance.choice((1, 5, 0x301, 0x305, chance.randrange(1 << 16)))
            self.genl.send(chance.choice((1, 2, 3, 5, 6, 7, chance.randrange(256))), self.mess(chance, group.id), flags=flags)
            try:
                while True:
                    self.genl.socket.recv(1 << 16)
            except (BlockingIOError, OSError):
                pass
        self.genl.close()
        self.genl = vznetlink.Genl()
        self.assertEqual(self.genl.do(GET, cgroup_id=group.id)["cgroup_id"], group.id)

    @staticmethod
    def mess(chance, cgroup_id):
        """Attributes with wrong lengths, types, and nesting, sometimes only noise, sometimes nearly right."""
        if chance.random() < 0.1:
            return chance.randbytes(chance.randrange(300))
        data = vznetlink.pack("cgroup_id", cgroup_id) if chance.random() < 0.5 else b""
        for _ in range(chance.randrange(8)):
            number = chance.choice((chance.randrange(31), 0x8000 | chance.randrange(31), chance.randrange(1 << 16)))
            data += vznetlink.attribute(number, chance.randbytes(chance.choice((0, 1, 4, 8, 63, 64, 65, 200))))
        return data[:chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data


class Files(ModuleTest):
    def setUp(self):
        super().setUp()
        VZFS.mkdir(exist_ok=True)
        run(["mount", "-t", "vzfs", "none", VZFS], check=0)
        self.addCleanup(run, ["umount", VZFS], check=0)

    def container(self, name="a", ram=256 * MIB, swap=128 * MIB, **fields):
        group = Group(self, name, memory_max=ram, memory_swap_max=swap)
        self.register(group, **fields)
        return group

    def inside(self, group, script):
        """A shell in the container's cgroup with the files over those of /proc."""
        binds = "".join(f"mount --bind {VZFS}/{name} /proc/{name} && "
                        for name in ("meminfo", "stat", "uptime", "loadavg", "cpuinfo", "swaps"))
        return group.output("unshare", "-m", "sh", "-c", binds + script)

    def test_host_reads_its_own(self):
        for name in ("swaps", "cpuinfo"):
            ours, theirs = ((path / name).read_text() for path in (VZFS, pathlib.Path("/proc")))
            self.assertEqual(re.sub(r"cpu MHz.*", "", ours), re.sub(r"cpu MHz.*", "", theirs))
        keys = [[line.split(":")[0] for line in (path / "meminfo").read_text().splitlines()]
                for path in (VZFS, pathlib.Path("/proc"))]
        self.assertEqual(*keys)
        self.assertAlmostEqual(*(float((path / "uptime").read_text().split()[0]) for path in (VZFS, pathlib.Path("/proc"))),
                               delta=1)

    def test_totals(self):
        group = self.container()
        usage = Between(lambda: int((group.path / "memory.current").read_text()) >> 10)
        found = table(group.read("meminfo"))
        self.assertEqual(found["MemTotal"], 256 << 10)
        usage.check(self, found["MemTotal"] - found["MemFree"], 4096)
        self.assertEqual((found["SwapTotal"], found["SwapFree"]), (128 << 10, 128 << 10))

    def test_limit_above(self):
        """The smallest limit on the way up is the one that holds."""
        group = self.container(ram="max", swap="max")
        self.assertEqual(table(group.read("meminfo"))["MemTotal"], table((VZFS / "meminfo").read_text())["MemTotal"])
        parent = CGROUP / "vz.slice" / "memory.max"
        parent.write_text(str(100 * MIB))
        self.addCleanup(parent.write_text, "max")
        self.assertEqual(table(group.read("meminfo"))["MemTotal"], 100 << 10)

    def test_procps(self):
        group = self.container()
        out = self.inside(group, "free -k; swapon --show=SIZE --bytes --noheadings; uptime; vmstat 1 2")
        self.assertRegex(out, r"Mem:\s+262144\s")
        self.assertRegex(out, r"Swap:\s+131072\s")
        self.assertIn(str(128 * MIB), out)
        self.assertRegex(out, r"load average: \d")
        self.assertRegex(self.inside(group, "top -b -n 1"), r"MiB Mem :\s+256.0 total")

    def keep_dirty(self):
        """Nothing is written back meanwhile: neither now and then nor because it is much."""
        for name, value in (("dirty_writeback_centisecs", 0), ("dirty_ratio", 95), ("dirty_background_ratio", 90)):
            knob = pathlib.Path("/proc/sys/vm", name)
            self.addCleanup(knob.write_text, knob.read_text())
            knob.write_text(str(value))

    def test_kinds_of_memory(self):
        self.keep_dirty()
        group = self.container()
        file, shared = pathlib.Path("/root/vz-kmod-file"), pathlib.Path("/dev/shm/vz-kmod")
        self.addCleanup(file.unlink)
        self.addCleanup(shared.unlink)
        group.output("dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=40", "status=none", "conv=fsync")
        hold = group.command("python3", "-c", f"""
import mmap
a = bytearray(50 << 20)
open({str(shared)!r}, "wb").write(b"x" * (30 << 20))
shared = open({str(shared)!r}, "r+b")
mapped = mmap.mmap(shared.fileno(), 0)
sum(mapped[::4096])
open({str(file)!r}, "r+b").write(b"x" * (8 << 20))
print("ready", flush=True)
input()""", stdin=subprocess.PIPE)
        self.addCleanup(hold.communicate)
        self.addCleanup(hold.kill)
        self.assertEqual(hold.stdout.readline(), "ready\n")
        found = table(group.read("meminfo"))
        stat = {key: int(value) >> 10 for key, value in
                (line.split() for line in (group.path / "memory.stat").read_text().splitlines())}
        for row, key in (("AnonPages", "anon"), ("Cached", "file"), ("Shmem", "shmem"), ("Mapped", "file_mapped"),
                         ("Dirty", "file_dirty"), ("Slab", "slab"), ("SReclaimable", "slab_reclaimable"),
                         ("KReclaimable", "slab_reclaimable"), ("SUnreclaim", "slab_unreclaimable"),
                         ("KernelStack", "kernel_stack"), ("PageTables", "pagetables"), ("Percpu", "percpu")):
            with self.subTest(row):
                self.assertAlmostEqual(found[row], stat[key], delta=1024)
        for row, least in (("AnonPages", 50), ("Cached", 70), ("Shmem", 30), ("Mapped", 30), ("Dirty", 6), ("Slab", 0),
                           ("SReclaimable", 0), ("PageTables", 0)):
            self.assertGreater(found[row], (least << 10) - 1024 if least else 0, row)
        for kind in ("anon", "file"):
            self.assertAlmostEqual(found[f"Active({kind})"] + found[f"Inactive({kind})"],
                                   stat[f"active_{kind}"] + stat[f"inactive_{kind}"], delta=4096)
        again = found["Active(file)"] + found["Inactive(file)"] + found["SReclaimable"]
        self.assertEqual(found["MemAvailable"], min(found["MemTotal"], found["MemFree"] + again))
        free = self.inside(group, "free -k").splitlines()[1].split()
        self.assertEqual(len(free), 7)
        self.assertAlmostEqual(int(free[4]), found["Shmem"], delta=1024)
        self.assertAlmostEqual(int(free[5]), found["Cached"] + found["SReclaimable"], delta=4096)

    def test_swap_in_use(self):
        if not int(re.search(r"SwapTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]):
            self.skipTest("the guest has no swap (--swap 1G)")
        group = self.container(ram=32 * MIB, swap=128 * MIB)
        hold = group.command("python3", "-c", "a = b'x' * (70 << 20); print('ready', flush=True); input()",
                             stdin=subprocess.PIPE)
        self.addCleanup(hold.communicate)
        self.addCleanup(hold.kill)
        hold.stdout.readline()

        def swap():
            return int((group.path / "memory.swap.current").read_text()) >> 10

        def in_meminfo(text):
            found = table(text)
            return found["SwapTotal"] - found["SwapFree"]

        for name, shown in (("meminfo", in_meminfo), ("swaps", lambda text: int(text.splitlines()[1].split()[3]))):
            with self.subTest(name):
                used = Between(swap)
                self.assertGreater(used.before, 30 << 10)
                used.check(self, shown(group.read(name)), 1024)

    def test_no_swap(self):
        group = self.container(swap=0)
        self.assertEqual(table(group.read("meminfo"))["SwapTotal"], 0)
        self.assertEqual(len(group.read("swaps").splitlines()), 1)

    def test_cpus(self):
        group = self.container(cpus=1)
        self.assertEqual(re.findall(r"^processor\t: (\d+)$", group.read("cpuinfo"), re.M), ["0"])
        self.assertEqual(re.findall(r"^cpu\d*", group.read("stat"), re.M), ["cpu", "cpu0"])
        self.genl.do(SET, cgroup_id=group.id, cpus=2)
        two = [str(n) for n in range(min(2, os.cpu_count()))]  # never more than the machine has
        self.assertEqual(re.findall(r"^processor\t: (\d+)$", group.read("cpuinfo"), re.M), two)
        self.assertEqual(group.read("cpuinfo").count("\n\n"), len(two))
        self.genl.do(SET, cgroup_id=group.id, cpus=4096)
        self.assertEqual(len(re.findall(r"^processor", group.read("cpuinfo"), re.M)), os.cpu_count())

    def check_cpu_time(self, group):
        usage = Between(lambda: int(re.search(r"usage_usec (\d+)", (group.path / "cpu.stat").read_text())[1]) / 1e6)
        self.assertGreater(usage.before, 1)
        usage.check(self, sum(map(int, group.read("stat").split("\n", 1)[0].split()[1:4])) / 100, 0.3)

    def test_cpu_time(self):
        group = self.container(cpus=1)
        busy = group.command("sh", "-c", "while :; do :; done")
        time.sleep(3)
        busy.kill()
        busy.communicate()
        self.check_cpu_time(group)

    def test_cpu_time_of_what_is_gone(self):
        """A cgroup inside that was removed has been paid for by the container."""
        group = self.container(cpus=1)
        run(["sh", "-c", f"mkdir {group.inner}/x; (echo 0 > {group.inner}/x/cgroup.procs; timeout 2 sh -c 'while :; do :; done'); "
                         f"rmdir {group.inner}/x"], check=0)
        time.sleep(1)
        self.check_cpu_time(group)

    def test_time_runs_forward(self):
        group = self.container(cpus=2)
        busy = group.command("sh", "-c", "while :; do :; done")
        self.addCleanup(busy.communicate)
        self.addCleanup(busy.kill)
        reader = ("import time\n"
                  "last, end = [0] * 4, time.monotonic() + 15\n"
                  "while time.monotonic() < end:\n"
                  f"  now = list(map(int, open('{VZFS}/stat').readline().split()[1:4]))\n"
                  "  assert all(a <= b for a, b in zip(last, now)), (last, now)\n"
                  "  last = now\n")
        look = subprocess.Popen(["sh", "-c", f"while :; do cat {group.path}/cpu.stat >/dev/null; done"])
        try:
            group.output("python3", "-c", reader)
        finally:
            look.kill()
            look.wait()

    def test_uptime_and_boot_time(self):
        group = self.container(boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 2 * SECOND)
        uptime = float(group.read("uptime").split()[0])
        self.assertTrue(2 <= uptime < 8, uptime)
        boot = int(re.search(r"btime (\d+)", group.read("stat"))[1])
        self.assertAlmostEqual(boot, time.time() - uptime, delta=3)

    def test_load(self):
        group = self.container()
        busy = [group.command("sh", "-c", "while :; do :; done") for _ in range(3)]
        time.sleep(17)
        load, tasks = (group.read("loadavg").split()[n] for n in (0, 3))
        for process in busy:
            end(process)
        self.assertTrue(0.3 < float(load) < 1.5, load)
        self.assertRegex(tasks, r"^[34]/[345]$")

    def test_readers_everywhere(self):
        group = self.container()
        self.assertEqual(os.stat(VZFS / "meminfo").st_mode & 0o777, 0o444)
        out = group.output(*NOBODY, "unshare", "-Urm", "cat", VZFS / "meminfo")
        self.assertEqual(table(out)["MemTotal"], 256 << 10)
        run(["stat", "-f", VZFS], check=0)
        every = "meminfo stat uptime loadavg cpuinfo swaps"
        processes = [group.command("sh", "-c", f"cd {VZFS}; for i in 1 2 3 4 5; do cat {every}; done", stdout=subprocess.DEVNULL)
                     for _ in range(8)]
        self.assertEqual({process.wait() for process in processes}, {0})

    def test_nobody_changes_it(self):
        for command in (["chmod", "0", VZFS / "stat"], ["touch", VZFS / "new"], ["rm", "-f", VZFS / "stat"],
                        ["mount", "-o", "remount,size=1", VZFS], ["unshare", "-Urm", "mount", "-t", "vzfs", "none", "/mnt"],
                        ["sh", "-c", f"echo >> {VZFS}/stat"]):
            self.assertNotEqual(run(command).rc, 0, command)
        run(["mount", "-o", "remount,rw", VZFS])
        self.assertNotEqual(run(["chmod", "0", VZFS / "stat"]).rc, 0)
        self.assertNotEqual(run(["rmmod", "vz"]).rc, 0)

    def test_small_reads(self):
        """A reader that takes one byte at a time gets one whole text."""
        group = self.container()
        out = group.output("dd", f"if={VZFS}/cpuinfo", "bs=1", "status=none")
        self.assertEqual(out.count("power management"), os.cpu_count())


class Oom(ModuleTest):
    def test_event(self):
        group = Group(self, memory_max=32 * MIB, memory_swap_max=0)
        self.register(group, 4242, name="hungry")
        self.genl.join()
        hog = group.command("python3", "-c", "a = b'x' * (90 << 20)")
        hog.communicate()
        self.assertEqual(hog.returncode, -signal.SIGKILL)
        event = self.genl.event()
        self.assertEqual((event["event"], event["ctid"], event["name"], event["cgroup_id"]), (1, 4242, "hungry", group.id))
        self.assertEqual((event["pid"], event["comm"], event["uid"]), (hog.pid, "python3", 0))
        self.assertEqual((event["ram_limit"], event["swap_limit"]), (32 * MIB, 0))
        self.assertGreater(event["rss_anon"], 16 * MIB)
        self.assertTrue(24 * MIB < event["ram_usage"] <= 33 * MIB, event)
        wait_for(lambda: f"vz: CT 4242: out of memory: killed process {hog.pid} (python3)" in run(["dmesg"]).out, 5, "a line")

    def test_limit_above_is_not_its_own(self):
        group = Group(self, memory_max=512 * MIB)
        self.register(group, 4243)
        self.genl.join()
        parent = CGROUP / "vz.slice"
        (parent / "memory.max").write_text(str(32 * MIB))
        (parent / "memory.swap.max").write_text("0")
        self.addCleanup((parent / "memory.max").write_text, "max")
        self.addCleanup((parent / "memory.swap.max").write_text, "max")
        group.command("python3", "-c", "a = b'x' * (90 << 20)").communicate()
        self.assertEqual(self.genl.event()["event"], 2)

    def test_others_are_no_event(self):
        group = Group(self, memory_max=32 * MIB, memory_swap_max=0)
        self.genl.join()
        self.genl.socket.settimeout(2)
        group.command("python3", "-c", "a = b'x' * (90 << 20)").communicate()
        with self.assertRaises(TimeoutError):
            self.genl.event()


class Zz(ModuleTest):
    """Last: forced unloading taints the kernel."""

    def test_1_forced_unload(self):
        load = load_of(20, 1500 * MS, 60)
        with Hook():
            wait_for(lambda: self.genl.do(INFO)["nr_sleepers"] >= 10, 10, "sleepers")
            self.genl.close()
            forced = subprocess.Popen(["rmmod", "-f", "vz"])
            time.sleep(3)
            self.assertIsNone(forced.poll(), "it waits for the BPF program, which would call into nothing")
        self.assertEqual(forced.wait(timeout=20), 0)
        self.assertFalse(vzmodule.loaded())
        self.assertIsNone(load.poll())
        end(load)

    def test_2_kernel_has_nothing_to_say(self):
        self.assertEqual(complaints(), [])


if __name__ == "__main__":
    if os.environ.get("VZ_LAB_NODE"):
        build_delayer()
    labguest.main(private=False)

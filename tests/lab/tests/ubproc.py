#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/user_beancounters, /proc/bc and /proc/vz of vz.ko: their bytes, who sees what, and what hostile maps do.

The maps are made here and filled by hand, so that every number is known. tests/data/proc-vz has the files as they must
be; cells that live (memory, tasks, times) are replaced by `*` of the same width. VZ_GOLDEN=DIR writes what was found.
"""
import ctypes
import errno
import os
import pathlib
import random
import re
import socket
import struct
import subprocess
import threading
import time
import unittest

import kmod
import labguest
import vzbpf
import vzhost
import vzmodule
import vznetlink
from kmod import NOBODY, SECOND, Group, complaints, unload
from labguest import MIB, Between
from vzhost import run, wait_for
from vznetlink import ADD, DEL, GET, INFO, SET, UB_MAPS

PROC = pathlib.Path("/proc/fs/vz")
GOLDEN = vzhost.SOURCE / "tests" / "data" / "proc-vz"
ROWS = ("kmemsize lockedpages privvmpages shmpages dummy numproc physpages vmguarpages oomguarpages numtcpsock numflock "
        "numpty numsiginfo tcpsndbuf tcprcvbuf othersockbuf dgramrcvbuf numothersock dcachesize numfile dummy dummy dummy "
        "numiptent swappages").split()
LIVE = {"kmemsize", "lockedpages", "shmpages", "numproc", "physpages", "oomguarpages", "dcachesize", "swappages"}
UNLIMITED = (1 << 63) - 1
MAP_CREATE, PROG_LOAD, BY_ID = 0, 5, 14
HASH, ARRAY, SYSCALL, SOCKET_FILTER = 1, 2, 31, 1


class Map:
    """A BPF hash of this test: cgroup id -> u64[count]."""

    def __init__(self, count, kind=HASH, key=8, entries=1024):
        self.count = count
        self.fd = vzbpf.bpf(MAP_CREATE, struct.pack("=IIIII", kind, key, 8 * count, entries, 0))

    def _element(self, command, key, value=None):
        key = ctypes.c_uint64(key)
        vzbpf.bpf(command, struct.pack("=I4xQQQ", self.fd, ctypes.addressof(key), ctypes.addressof(value) if value else 0, 0))

    def set(self, key, values):
        self._element(2, key, ctypes.create_string_buffer(struct.pack(f"={self.count}Q", *values), 8 * self.count))

    def get(self, key):
        value = ctypes.create_string_buffer(8 * self.count)
        self._element(1, key, value)
        return struct.unpack(f"={self.count}Q", value.raw)

    def delete(self, key):
        self._element(3, key)

    def id(self):
        return int(re.search(r"map_id:\s*(\d+)", pathlib.Path(f"/proc/self/fdinfo/{self.fd}").read_text())[1])

    def close(self):
        os.close(self.fd)


def map_exists(number):
    try:
        os.close(vzbpf.bpf(BY_ID, struct.pack("=III", number, 0, 0)))
        return True
    except FileNotFoundError:
        return False


def instruction(code, to=0, source=0, offset=0, value=0):
    return struct.pack("=BBhi", code, source << 4 | to, offset, value)


def program(kind, body, flags=0):
    text, licence = ctypes.create_string_buffer(body, len(body)), ctypes.create_string_buffer(b"GPL")
    return vzbpf.bpf(PROG_LOAD, struct.pack("=IIQQIIQII", kind, len(body) // 8, ctypes.addressof(text),
                                            ctypes.addressof(licence), 0, 0, 0, 0, flags))


def counting_program(table, key):
    """A program of type syscall that adds 1 to the first counter of an entry."""
    return program(SYSCALL, b"".join((
        instruction(0xB7, 1, value=key & 0x7FFFFFFF), instruction(0x7B, 10, 1, -8),  # key on the stack
        instruction(0xBF, 2, 10), instruction(0x07, 2, value=-8),
        instruction(0x18, 1, 1, value=table.fd), instruction(0),  # the map
        instruction(0x85, value=1),  # lookup
        instruction(0x15, 0, offset=2), instruction(0xB7, 1, value=1), instruction(0xDB, 0, 1),  # *(u64 *)r0 += 1
        instruction(0xB7, 0), instruction(0x95))), flags=1 << 4)


def returning_program(kind, load_context=None):
    body = b"" if load_context is None else instruction(0x79, 1, 1, load_context)
    return program(kind, body + instruction(0xB7, 0) + instruction(0x95), 1 << 4 if kind == SYSCALL else 0)


def mount():
    run(["mount", "-t", "vzfs", "vzfs", PROC], check=0)


def umount():
    run(["umount", PROC], check=0)


def read(path):
    return (pathlib.Path("/proc") / path).read_text()


def all_threads():
    return int(read("loadavg").split()[3].split("/")[1])


def table(text):
    """{uid: {row: (held, maxheld, barrier, limit, failcnt)}}; dummies are numbered by where they are."""
    found, uid = {}, None
    for number, line in enumerate(line for line in text.splitlines() if not line.startswith(("Version", "       uid"))):
        if line[:11].strip():
            uid = int(line[:10].strip().rstrip(":"))
        words = line[11:].split()
        name = words[0] if words[0] != "dummy" else f"dummy{number}"
        found.setdefault(uid, {})[name] = tuple(map(int, words[1:]))
    return found


def counters(held, maxheld, failcnt):
    return [held(n) for n in range(25)] + [maxheld(n) for n in range(25)] + [failcnt(n) for n in range(25)]


def mask(text, rows, columns):
    """Cells of 20 characters that live, by row and column."""
    out = []
    for line in text.splitlines(keepends=True):
        words = line[11:].split()
        if words and words[0] in rows:
            for column in columns:
                at = 25 + 21 * column
                line = line[:at] + "*" * 20 + line[at + 20:]
        out.append(line)
    return "".join(out)


class UbTest(kmod.ModuleTest):
    mounted = True

    def setUp(self):
        super().setUp()
        self.ub, self.conf = Map(75), Map(50)
        self.addCleanup(self.ub.close)
        self.addCleanup(self.conf.close)
        if self.mounted:
            mount()
            self.addCleanup(umount)
        self.addCleanup(self.forget_maps)

    def forget_maps(self):
        if vzmodule.loaded():
            genl = vznetlink.Genl()
            genl.do(UB_MAPS)
            genl.close()

    def hand_over(self, **more):
        self.genl.do(UB_MAPS, ub_fd=self.ub.fd, ub_conf_fd=self.conf.fd, **more)

    def container(self, ctid, name=None, **limits):
        group = Group(self, name or f"ub{ctid}", **limits)
        for parent in (labguest.CGROUP, labguest.CGROUP / "vz.slice"):
            (parent / "cgroup.subtree_control").write_text("+io")
        self.register(group, ctid)
        return group

    def numbered(self, ctid, **limits):
        """One whose counters say which they are."""
        group = self.container(ctid, **limits)
        self.ub.set(group.id, counters(lambda n: 1000 + n, lambda n: 10 ** 15 + n, lambda n: n))
        self.conf.set(group.id, [2000 + n for n in range(25)] + [UNLIMITED - n for n in range(25)])
        return group

    def golden(self, name, text):
        if os.environ.get("VZ_GOLDEN"):
            pathlib.Path(os.environ["VZ_GOLDEN"], name).write_text(text)
        self.assertEqual(text, (GOLDEN / name).read_text())


class Bytes(UbTest):
    """The files as OpenVZ's kernel writes them."""

    def masked(self, text):
        ours = mask(text, LIVE, (0, 1, 4))
        before, after = ours.split(" 101:", 1)
        host = mask(before, LIVE, range(0, 2))
        return host + " 101:" + after

    def setUp(self):
        super().setUp()
        self.numbered(4101)
        self.numbered(101)
        self.hand_over()

    def test_user_beancounters(self):
        self.golden("user_beancounters", self.masked(read("user_beancounters")))

    def test_bc_resources(self):
        self.golden("bc_resources", self.masked(read("bc/resources")))

    def test_bc_id_resources(self):
        self.golden("bc_id_resources", mask(read("bc/101/resources"), LIVE, (0, 1, 4)))

    def test_version_and_vswap(self):
        self.golden("vswap", read("vz/vswap"))
        self.assertEqual(read("vz/version"), self.genl.do(INFO)["version"] + "\n")

    def test_veinfo(self):
        self.genl.do(SET, cgroup_id=self.id_of(101), addrs=["10.0.0.1", "192.168.100.200", "fd00::1:2"])
        text = read("vz/veinfo")
        self.golden("veinfo", re.sub(r"(?m)^( +0     0) +\d+$", lambda m: m[1] + " *****", text))

    def test_veip(self):
        self.genl.do(SET, cgroup_id=self.id_of(101), addrs=["10.0.0.1", "fd00::1:2"])
        self.genl.do(SET, cgroup_id=self.id_of(4101), addrs=["192.168.100.200"])
        self.golden("veip", read("vz/veip"))

    def test_vestat(self):
        for ctid in (101, 4101):
            self.genl.do(SET, cgroup_id=self.id_of(ctid), boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 2 * SECOND)
        lines = read("vz/vestat").splitlines(keepends=True)
        self.assertEqual({len(line) for line in lines}, {252})
        cells = [re.findall(r".{20}(?=[ \n])", line.replace("\n", " ") if n > 1 else line, re.S) for n, line in enumerate(lines)]
        for row in cells[2:]:
            for n in (4, 5, 7):
                self.assertGreater(int(row[n]), 0)
                row[n] = "*" * 20
        self.golden("vestat", "".join(lines[:2]) + "".join(" ".join(row) + "\n" for row in cells[2:]))

    def test_vmaux_ioacct(self):
        for name, keys in (("vmaux", {"tmpfs_respages", "ram", "swap_entries"}), ("ioacct", {"read", "write", "io_pbs"})):
            text = read(f"bc/101/{name}")
            self.assertRegex(text, r"\A(?:\t[a-z_]+ +\d+\n)+\Z")
            self.assertEqual({len(line) for line in text.splitlines()}, {43})
            found = {line.split()[0] for line in text.splitlines()}
            self.assertLessEqual(keys, found)

    def test_meminfo(self):
        self.assertRegex(read("bc/101/meminfo"), r"\AMemTotal: +\d+ kB\nMemFree: +\d+ kB\n")

    def id_of(self, ctid):
        return next(ct["cgroup_id"] for ct in self.genl.dump() if ct["ctid"] == ctid)


class Numbers(UbTest):
    def test_without_maps(self):
        """What no program counts is 0 and unlimited; limits of control groups are what they are."""
        group = self.container(101, memory_max=64 * MIB, memory_swap_max=32 * MIB, pids_max=77)
        rows = table(read("bc/resources"))[101]
        self.assertEqual(list(rows), [row for row in ROWS if row != "dummy"])
        for name in set(rows) - LIVE:
            self.assertEqual(rows[name], (0, 0, UNLIMITED, UNLIMITED, 0), name)
        self.assertEqual(rows["physpages"][2:4], (0, 64 * MIB // 4096))
        self.assertEqual(rows["swappages"][2:4], (0, 32 * MIB // 4096))
        self.assertEqual(rows["numproc"][2:4], (77, 77))
        self.assertEqual(self.genl.do(INFO)["ub_state"], 0)
        self.assertTrue(group.path.exists())

    def test_maps_decide_about_limits(self):
        group = self.container(101, memory_max=64 * MIB)
        self.hand_over()
        self.conf.set(group.id, [5] * 25 + [6] * 25)
        self.assertEqual({row[2:4] for row in table(read("bc/101/resources"))[None].values()}, {(5, 6)})

    def test_live(self):
        group = self.numbered(101)
        self.hand_over()
        for value in (1, 10 ** 18, 0):
            self.ub.set(group.id, counters(lambda n: value, lambda n: value, lambda n: value))
            self.assertEqual(table(read("user_beancounters"))[101]["numfile"], (value, max(value, table(
                read("user_beancounters"))[101]["numfile"][1]), 2019, UNLIMITED - 19, value))

    def test_memory(self):
        group = self.container(101, memory_max=256 * MIB)
        shared = pathlib.Path("/dev/shm/vz-ubproc")
        self.addCleanup(shared.unlink)
        hold = group.command("python3", "-c", f"a = bytearray(40 << 20); open('{shared}', 'wb').write(b'x' * (20 << 20)); "
                             "print('ready', flush=True); input()", stdin=subprocess.PIPE)
        self.addCleanup(hold.communicate)
        self.addCleanup(hold.kill)
        hold.stdout.readline()
        rows = table(read("bc/101/resources"))[None]
        stat = {key: int(value) for key, value in
                (line.split() for line in (group.path / "memory.stat").read_text().splitlines())}
        self.assertAlmostEqual(rows["physpages"][0], int((group.path / "memory.current").read_text()) // 4096, delta=512)
        self.assertAlmostEqual(rows["kmemsize"][0], stat["kernel"], delta=MIB)
        self.assertAlmostEqual(rows["dcachesize"][0], stat["slab_reclaimable"], delta=MIB)
        self.assertAlmostEqual(rows["shmpages"][0], stat["shmem"] // 4096, delta=256)
        self.assertGreater(rows["shmpages"][0], 5000)
        self.assertAlmostEqual(rows["lockedpages"][0], stat["unevictable"] // 4096, delta=256)
        self.assertEqual(rows["oomguarpages"][0], rows["physpages"][0] + rows["swappages"][0])
        peak = int((group.path / "memory.peak").read_text()) // 4096
        self.assertAlmostEqual(rows["physpages"][1], peak, delta=512)
        hold.kill()
        hold.wait()
        self.assertGreaterEqual(table(read("bc/101/resources"))[None]["physpages"][1], peak - 512)

    def test_locked(self):
        group = self.container(101)
        hold = group.command("python3", "-c", "import ctypes, mmap; m = mmap.mmap(-1, 8 << 20); c = ctypes.CDLL(None); "
                             "b = ctypes.addressof(ctypes.c_char.from_buffer(m)); "
                             "print(c.mlock(ctypes.c_void_p(b), 8 << 20), flush=True); input()", stdin=subprocess.PIPE)
        self.addCleanup(hold.communicate)
        self.addCleanup(hold.kill)
        self.assertEqual(hold.stdout.readline(), "0\n")
        # a batch of each CPU may still have to reach its list
        wait_for(lambda: 2048 - 64 <= table(read("bc/101/resources"))[None]["lockedpages"][0] <= 2048 + 64, 10, "locked pages")

    def test_numproc(self):
        group = self.container(101, pids_max=12)
        tasks = [group.command("sleep", "100") for _ in range(9)]
        wait_for(lambda: (group.path / "pids.current").read_text() == "9\n", 10, "nine tasks")
        self.assertEqual(table(read("user_beancounters"))[101]["numproc"], (9, 9, 12, 12, 0))
        self.assertIn("       101     2     9\n", read("vz/veinfo"))
        group.command("sh", "-c", "for n in 1 2 3 4 5 6; do sleep 1 & done").communicate()
        refused = int(re.search(r"max (\d+)", (group.path / "pids.events").read_text())[1])
        self.assertGreater(refused, 0)
        self.assertEqual(table(read("user_beancounters"))[101]["numproc"][4], refused)
        for task in tasks:
            kmod.end(task)

    def test_oom_is_counted(self):
        group = self.container(101, memory_max=24 * MIB, memory_swap_max=0)
        group.command("python3", "-c", "a = b'x' * (90 << 20)").communicate()
        rows = table(read("user_beancounters"))[101]
        self.assertEqual(rows["oomguarpages"][4], 1)
        self.assertGreaterEqual(rows["physpages"][4], 1)

    def test_host(self):
        """What is not in containers. The sum is what the host has."""
        group = self.container(101)
        hold = group.command("python3", "-c", "a = bytearray(100 << 20); print('ready', flush=True); input()",
                             stdin=subprocess.PIPE)
        self.addCleanup(hold.communicate)
        self.addCleanup(hold.kill)
        hold.stdout.readline()

        def used_pages():
            memory = kmod.table(read("meminfo"))
            return (memory["MemTotal"] - memory["MemFree"]) // 4

        pages, threads = Between(used_pages), Between(all_threads)
        rows = table(read("user_beancounters"))
        pages.check(self, rows[0]["physpages"][0] + rows[101]["physpages"][0], 2048)
        self.assertGreater(rows[101]["physpages"][0], 25000)
        threads.check(self, rows[0]["numproc"][0] + rows[101]["numproc"][0], 8)
        self.assertEqual(rows[0]["numfile"], (0, 0, UNLIMITED, UNLIMITED, 0))

    def test_nested(self):
        """A container in a container counts once for the host, and sees itself only."""
        outer = self.container(101)
        (outer.path / "inner" / "cgroup.procs").write_text("")
        inner = Group.__new__(Group)
        inner.path = outer.path / "inner"
        inner.inner = inner.path
        inner.id = inner.path.stat().st_ino
        self.register(inner, 102)
        task = inner.command("sleep", "100")
        wait_for(lambda: (outer.path / "pids.current").read_text() == "1\n", 10, "a task")
        threads = Between(all_threads)
        rows = table(read("user_beancounters"))
        self.assertEqual(rows[101]["numproc"][0], 1)
        threads.check(self, rows[0]["numproc"][0] + 1, 8)
        text = inner.output("cat", "/proc/user_beancounters")
        self.assertEqual(set(table(text)), {102})
        kmod.end(task)

    def test_a_group_without_controllers(self):
        """What a group above counts is not its own."""
        bare = labguest.CGROUP / "vz-ubproc-bare"
        (bare / "x").mkdir(parents=True)
        self.addCleanup(bare.rmdir)
        self.addCleanup((bare / "x").rmdir)
        group = Group.__new__(Group)
        group.path, group.id = bare / "x", (bare / "x").stat().st_ino
        self.register(group, 103)
        self.assertFalse((group.path / "memory.current").exists())
        for name, row in table(read("bc/103/resources"))[None].items():
            self.assertEqual(row, (0, 0, UNLIMITED, UNLIMITED, 0), name)
        self.assertEqual(read("bc/103/vmaux") + read("bc/103/ioacct"), "")
        self.assertIn("\n       103     2     0\n", read("vz/veinfo"))

    def test_tasks(self):
        group = self.container(101)
        task = group.command("unshare", "-p", "-f", "sleep", "100")
        wait_for(lambda: (group.path / "pids.current").read_text() == "2\n", 10, "two tasks")
        found = [tuple(map(int, line.split())) for line in read("bc/101/tasks").splitlines()]
        self.assertEqual(sorted(found)[0], (task.pid, task.pid))
        self.assertEqual(sorted(found)[1][1], 1)
        (group.path / "cgroup.kill").write_text("1")
        task.communicate()

    def test_cpu_time(self):
        group = self.container(101)
        busy = group.command("sh", "-c", "while :; do :; done")
        time.sleep(2)
        kmod.end(busy)
        row = read("vz/vestat").splitlines()[2].split()
        usage = int(re.search(r"usage_usec (\d+)", (group.path / "cpu.stat").read_text())[1])
        self.assertAlmostEqual(int(row[8]) / 1e9, usage / 1e6, delta=0.2)
        self.assertGreater(int(row[1]) + int(row[3]), 0)
        jiffies = sum(map(int, row[1:4]))
        ticks = int(row[4]) / (int(row[7]) / 1e9)  # per second
        self.assertAlmostEqual(jiffies / ticks, usage / 1e6, delta=0.2)

    def test_io(self):
        group = self.container(101)
        file = pathlib.Path("/root/vz-ubproc-file")
        self.addCleanup(file.unlink)
        group.output("dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=8", "conv=fsync", "status=none")
        found = dict(line.split() for line in read("bc/101/ioacct").splitlines())
        written = sum(map(int, re.findall(r"wbytes=(\d+)", (group.path / "io.stat").read_text())))
        self.assertGreaterEqual(written, 8 * MIB)
        self.assertEqual(int(found["write"]), written)

    def test_wrapped_counters_are_none(self):
        group = self.container(101)
        self.hand_over()
        self.ub.set(group.id, [(1 << 64) - 5] * 75)
        self.conf.set(group.id, [(1 << 64) - 1] * 50)
        rows = table(read("bc/101/resources"))[None]
        for name in set(rows) - LIVE:
            self.assertEqual(rows[name], (0, 0, UNLIMITED, UNLIMITED, 0), name)


class Seen(UbTest):
    """By whom."""

    def setUp(self):
        super().setUp()
        self.one, self.other = self.numbered(101), self.numbered(102)
        self.hand_over()

    def test_own_rows_only(self):
        text = self.one.output("cat", "/proc/user_beancounters")
        self.assertTrue(text.startswith("Version: 2.5\n       uid  resource"))
        self.assertEqual(set(table(text)), {101})
        self.assertEqual(len(text.splitlines()), 26)
        self.assertEqual(set(table(self.one.output("cat", "/proc/bc/resources"))), {101})
        self.assertEqual(self.one.output("cut", "-c-10", "/proc/vz/veinfo"), "       101\n")
        self.assertEqual([line.split()[0] for line in self.one.output("cat", "/proc/vz/vestat").splitlines()],
                         ["Version:", "VEID", "101"])
        self.assertEqual(self.one.output("ls", "/proc/bc").split(), ["101", "resources"])
        self.assertNotEqual(self.one.command("cat", "/proc/bc/102/resources").wait(), 0)

    def test_in_a_cgroup_namespace(self):
        """As a container has it: its own group is above the root that it sees."""
        for name in ("user_beancounters", "bc/resources"):
            self.assertEqual(set(table(self.one.output("unshare", "-C", "cat", f"/proc/{name}"))), {101})
        self.assertEqual(len(self.one.output("unshare", "-C", "cat", "/proc/bc/101/resources").splitlines()), 21)
        self.assertEqual(self.one.output("unshare", "-C", "cut", "-c-10", "/proc/vz/veinfo"), "       101\n")
        self.assertEqual(len(self.one.output("unshare", "-C", "cat", "/proc/vz/vestat").splitlines()), 3)

    def test_of_the_host_all(self):
        self.assertEqual(set(table(read("user_beancounters"))), {0, 101, 102})
        self.assertEqual(sorted(os.listdir("/proc/bc")), ["101", "102", "resources"])
        self.assertEqual([line.split()[0] for line in read("vz/veinfo").splitlines()], ["0", "101", "102"])
        for name in ("0", "0101", "+101", "103", "101 ", "x", str(1 << 32), str((1 << 32) + 101)):
            self.assertFalse(pathlib.Path("/proc/bc", name).exists(), name)

    def test_a_descriptor_that_was_passed_on(self):
        """Opened by the host, read inside: its own rows; half read by the host, nothing more."""
        with open("/proc/user_beancounters", "rb", buffering=0) as file:
            out = self.one.command("cat", stdin=file).communicate()[0]
            self.assertEqual(set(table(out)), {101})
        with open("/proc/user_beancounters", "rb", buffering=0) as file:
            file.read(1 << 20)
            self.assertEqual(self.one.command("cat", stdin=file).communicate()[0], "")

    def test_permissions(self):
        for name in ("user_beancounters", "vz/veinfo", "vz/vestat", "bc/resources", "bc/101/resources", "fs/vz/ct/user_beancounters"):
            path = pathlib.Path("/proc", name)
            self.assertEqual(path.stat().st_mode & 0o7777, 0o400, name)
            self.assertEqual((path.stat().st_uid, path.stat().st_gid), (0, 0))
            for prefix in (NOBODY, [*NOBODY, "unshare", "-Ur"]):
                self.assertIn("Permission denied", run([*prefix, "cat", path]).err, name)
        for name in ("vz/version", "vz/vswap"):
            run([*NOBODY, "cat", f"/proc/{name}"], check=0)
        self.assertIn("Permission denied", run([*NOBODY, "ls", "/proc/bc/"]).err)

    def test_idmapped(self):
        """As libvz mounts it: the container's root may read, nobody else inside."""
        point = pathlib.Path("/run/vz-ubproc-mount")
        point.mkdir(exist_ok=True)
        self.addCleanup(point.rmdir)
        run(["mount", "--bind", "-o", "X-mount.idmap=0:200000:65536", PROC / "ct", point], check=0)
        self.addCleanup(run, ["umount", point], check=0)
        path = point / "user_beancounters"
        self.assertEqual(path.stat().st_uid, 200000)
        root = ["setpriv", "--reuid=200000", "--regid=200000", "--clear-groups"]
        self.assertEqual(set(table(self.one.output(*root, "cat", path))), {101})
        self.assertIn("Permission denied", self.one.command("setpriv", "--reuid=200001", "--regid=200001", "--clear-groups", "cat", path).communicate()[0])

    def test_nobody_writes(self):
        for path in ("/proc/user_beancounters", "/proc/bc/101/resources", "/proc/vz/veinfo"):
            with self.assertRaises(OSError) as caught:
                os.open(path, os.O_WRONLY)
            self.assertIn(caught.exception.errno, (errno.EROFS, errno.EACCES))
        for command in (["mkdir", "/proc/bc/7"], ["rmdir", "/proc/bc/101"], ["touch", "/proc/vz/x"], ["rm", "/proc/bc/101/resources"],
                        ["mv", "/proc/bc/101", "/proc/bc/9"], ["chmod", "666", "/proc/user_beancounters"],
                        ["chown", "1", "/proc/user_beancounters"]):
            self.assertNotEqual(run(command).rc, 0, command)

    def test_small_reads_and_seeks(self):
        whole = self.one.output("cat", "/proc/user_beancounters")
        bytewise = self.one.output("dd", "if=/proc/user_beancounters", "bs=1", "status=none")
        self.assertEqual(mask(bytewise, LIVE, (0, 1, 4)), mask(whole, LIVE, (0, 1, 4)))
        fd = os.open("/proc/user_beancounters", os.O_RDONLY)
        text = os.read(fd, 1 << 20)
        while more := os.read(fd, 1 << 20):
            text += more
        for offset in (0, 1, 12, 13, 150, 4000, len(text) - 1, len(text), len(text) + 100):
            part = os.pread(fd, 30, offset)
            self.assertEqual(len(part), max(0, min(30, len(text) - offset)) if offset > 13 + 135 * 60 else len(part))
        self.assertEqual(os.pread(fd, 13, 0), b"Version: 2.5\n")
        os.lseek(fd, 0, os.SEEK_SET)
        self.assertEqual(os.read(fd, 13), b"Version: 2.5\n")
        os.close(fd)


class Links(UbTest):
    mounted = False
    names = ("/proc/user_beancounters", "/proc/bc", "/proc/vz")

    def test_none_exists_without_the_mount(self):
        for name in self.names:
            self.assertTrue(os.path.islink(name))
            self.assertFalse(os.path.exists(name))
            self.assertNotEqual(run(["sh", "-c", f"[ -e {name} ]"]).rc, 0)

    def test_all_exist_with_it(self):
        mount()
        self.addCleanup(umount)
        for name in self.names:
            self.assertTrue(os.path.exists(name))

    def test_a_container_has_no_bc(self):
        group = self.container(101)
        point = "/run/vz-ubproc-vzfs"
        script = (f"mkdir -p {point} && mount -t vzfs none {point} && mount --bind {point}/ct /proc/fs/vz && umount {point} && "
                  "for n in user_beancounters bc vz vz/veip; do [ -e /proc/$n ] && echo $n; done; cat /proc/user_beancounters")
        out = group.output("unshare", "-m", "sh", "-c", script)
        self.assertEqual(out.splitlines()[:2], ["user_beancounters", "vz"])
        self.assertEqual(set(table(out.split("vz\n", 1)[1])), {101})

    def test_another_proc_is_not_covered(self):
        """The mount is one of one instance, and covers nothing that a user namespace would miss."""
        mount()
        self.addCleanup(umount)
        out = run(["unshare", "-Urmpf", "sh", "-c",
                   "mount -t proc proc /proc && [ ! -e /proc/vz ] && [ ! -e /proc/bc ] && [ ! -e /proc/user_beancounters ] && "
                   "[ -d /proc/fs/vz ] && echo yes"], check=0).out
        self.assertEqual(out, "yes\n")

    def test_systemd_is_not_fooled(self):
        """It looks for /proc/vz without /proc/bc."""
        if not pathlib.Path("/usr/bin/systemd-detect-virt").exists():
            self.skipTest("no systemd-detect-virt")
        for use in (lambda: None, mount):
            use()
            self.assertEqual(run(["systemd-detect-virt", "--container"]).out, "none\n")
        umount()

    def test_gone_with_the_module(self):
        mount()
        self.assertNotEqual(run(["rmmod", "vz"]).rc, 0)
        umount()
        self.genl.close()
        unload()
        for name in (*self.names, "/proc/fs/vz"):
            self.assertFalse(os.path.lexists(name), name)
        vzmodule.load()
        self.genl = vznetlink.Genl()


class Maps(UbTest):
    def test_shapes(self):
        good = dict(ub_fd=self.ub.fd, ub_conf_fd=self.conf.fd)
        for make in (lambda: Map(74), lambda: Map(50), lambda: Map(75, ARRAY, 4), lambda: Map(75, HASH, 4)):
            other = make()
            self.refused(errno.EINVAL, UB_MAPS, ub_fd=other.fd, ub_conf_fd=self.conf.fd)
            other.close()
        self.refused(errno.EINVAL, UB_MAPS, ub_fd=self.conf.fd, ub_conf_fd=self.ub.fd)
        self.refused(errno.EINVAL, UB_MAPS, ub_fd=self.ub.fd)
        self.refused(errno.EINVAL, UB_MAPS, ub_conf_fd=self.conf.fd)
        self.refused(errno.EINVAL, UB_MAPS, ub_refresh_fd=self.conf.fd)
        self.refused(errno.EINVAL, UB_MAPS, cgroup_id=1, **good)
        self.assertIn("BPF map", self.refused(errno.EBADF, UB_MAPS, ub_fd=999, ub_conf_fd=self.conf.fd))
        self.refused(errno.EBADF, UB_MAPS, ub_fd=(1 << 32) - 1, ub_conf_fd=self.conf.fd)
        file = os.open("/etc/passwd", os.O_RDONLY)
        self.refused(errno.EINVAL, UB_MAPS, ub_fd=file, ub_conf_fd=self.conf.fd)
        self.refused(errno.EINVAL, UB_MAPS, ub_refresh_fd=file, **good)
        self.refused(errno.EINVAL, UB_MAPS, ub_refresh_fd=self.ub.fd, **good)
        os.close(file)
        for program_fd in (returning_program(SOCKET_FILTER), returning_program(SYSCALL, 64)):
            self.refused(errno.EINVAL, UB_MAPS, ub_refresh_fd=program_fd, **good)
            os.close(program_fd)
        self.assertEqual(self.genl.do(INFO)["ub_state"], 0)
        larger = Map(90)  # of a newer version, with more behind what is known
        self.genl.do(UB_MAPS, ub_fd=larger.fd, ub_conf_fd=self.conf.fd)
        larger.close()
        self.hand_over()
        self.assertEqual(self.genl.do(INFO)["ub_state"], 1)
        self.refused(errno.EBADF, UB_MAPS, ub_fd=999, ub_conf_fd=998)
        self.assertEqual(self.genl.do(INFO)["ub_state"], 1)

    def test_references(self):
        """Held until replaced, or forgotten; not one more for all the refusals."""
        other = Map(75)
        first, second, limits = self.ub.id(), other.id(), self.conf.id()
        bad = returning_program(SOCKET_FILTER)
        for _ in range(50):
            self.hand_over()
            self.refused(errno.EINVAL, UB_MAPS, ub_fd=other.fd, ub_conf_fd=self.conf.fd, ub_refresh_fd=bad)
        os.close(bad)
        self.ub.close()
        self.ub = other
        self.assertTrue(map_exists(first))
        self.hand_over()
        wait_for(lambda: not map_exists(first), 20, "the end of the first map")
        self.assertTrue(map_exists(second))
        self.genl.do(UB_MAPS)
        other.close()
        wait_for(lambda: not map_exists(second), 20, "the end of the second map")
        self.assertTrue(map_exists(limits))
        self.ub = Map(75)

    def test_refresh(self):
        group = self.container(101)
        self.ub.set(1, [0] * 75)
        runs = counting_program(self.ub, 1)
        self.hand_over(ub_refresh_fd=runs)
        os.close(runs)
        self.assertEqual(self.genl.do(INFO)["ub_state"], 3)
        for wanted in (1, 2, 3):
            read("user_beancounters")
            self.assertEqual(self.ub.get(1)[0], wanted)
        read("bc/101/resources")
        group.output("cat", "/proc/user_beancounters")
        self.assertEqual(self.ub.get(1)[0], 5)
        ready = threading.Barrier(8)

        def reader():
            ready.wait()
            read("bc/101/resources")
        threads = [threading.Thread(target=reader) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertTrue(5 < self.ub.get(1)[0] <= 13)

    def test_unprivileged(self):
        script = ("import sys; sys.path.insert(0, sys.argv[1])\n"
                  "import vznetlink as n\n"
                  "for fields in ({}, dict(ub_fd=3, ub_conf_fd=4)):\n"
                  "  try: n.Genl().do(n.UB_MAPS, **fields); print('allowed')\n"
                  "  except OSError as e: print(e.errno)\n")
        for prefix in (NOBODY, ["unshare", "-Ur"], [*NOBODY, "unshare", "-Ur"]):
            out = run([*prefix, "python3", "-c", script, pathlib.Path(__file__).parent], check=0).out.split()
            self.assertEqual(out, [str(errno.EPERM)] * 2, prefix)

    def test_addresses(self):
        group = self.container(101)
        many = [f"10.1.{n}.1" for n in range(4)] + [f"fd00::{n:x}" for n in range(1, 125)]
        self.genl.do(SET, cgroup_id=group.id, addrs=many, name="n" * 63)
        self.assertEqual(self.genl.do(GET, cgroup_id=group.id)["addrs"], many)
        self.assertEqual(self.genl.dump()[0]["addrs"], many)
        self.refused(errno.EINVAL, SET, cgroup_id=group.id, addrs=[*many, "10.9.9.9"])
        head = vznetlink.pack("cgroup_id", group.id)
        number = vznetlink.NUMBER["addrs"]
        for kind, data in ((1, b"123"), (1, b"12345"), (2, b"1234"), (2, b"x" * 17), (0, b"1234"), (3, b"1234"), (1, b"")):
            body = head + vznetlink.attribute(number | vznetlink.NESTED, vznetlink.attribute(kind, data))
            with self.assertRaises(vznetlink.NetlinkError):
                self.genl.call(SET, body)
        for body in (vznetlink.attribute(number, b"123"), vznetlink.attribute(number | vznetlink.NESTED, b"12"),
                     vznetlink.attribute(number | vznetlink.NESTED, struct.pack("=HH", 60, 1) + b"1234")):
            with self.assertRaises(vznetlink.NetlinkError):
                self.genl.call(SET, head + body)
        self.assertEqual(self.genl.do(GET, cgroup_id=group.id)["addrs"], many)
        self.genl.do(SET, cgroup_id=group.id, addrs=[])
        self.assertNotIn("addrs", self.genl.do(GET, cgroup_id=group.id))
        self.assertNotIn("10.1", read("vz/veinfo"))

    def test_hostile_contents(self):
        """Whatever the numbers are, the table is one."""
        group = self.container(101)
        self.hand_over()
        chance = random.Random(int(os.environ.get("VZ_SEED", "1")))
        edges = (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
        for _ in range(200):
            for numbers, count in ((self.ub, 75), (self.conf, 50)):
                numbers.set(group.id, [chance.choice((*edges, chance.randrange(1 << 64))) for _ in range(count)])
            for line in read("user_beancounters").splitlines()[1:]:
                self.assertEqual(len(line), 129)
            self.assertRegex(read("bc/101/resources"), r"\A(?: {12}[a-z ]{12}(?: [ \d]{19}\d){5}\n){21}\Z")


class Load(UbTest):
    def test_many_containers(self):
        groups = [self.container(1000 - n, f"m{n}") for n in range(300)]
        self.hand_over()
        for group in groups:
            self.ub.set(group.id, [1000] * 75)
        began = time.monotonic()
        text = read("user_beancounters")
        took = time.monotonic() - began
        print(f"# {len(groups)} containers, {len(text)} bytes in {took * 1000:.0f} ms")
        rows = table(text)
        self.assertEqual(list(rows), [0, *range(701, 1001)])
        self.assertEqual({rows[ctid]["numfile"][0] for ctid in range(701, 1001)}, {1000})
        self.assertEqual(text.count("Version"), 1)
        self.assertEqual(len(os.listdir("/proc/bc")), 301)
        self.assertEqual(len(read("vz/veinfo").splitlines()), 301)

    def test_readers_while_all_changes(self):
        """Maps replaced, entries and containers made and removed, the module's file system unmounted under readers."""
        self.hand_over()
        stop = time.monotonic() + 15
        script = ("while :; do cat /proc/user_beancounters /proc/bc/resources /proc/bc/*/* /proc/vz/* >/dev/null 2>&1; done")
        groups = [Group(self, f"l{n}") for n in range(6)]
        readers = [subprocess.Popen(["sh", "-c", script]) for _ in range(2)] + [groups[0].command("sh", "-c", script)]
        chance = random.Random(7)
        rounds = 0
        known = set()
        while time.monotonic() < stop:
            rounds += 1
            group = chance.choice(groups[1:])
            if group.id in known:
                self.genl.do(DEL, cgroup_id=group.id)
                known.remove(group.id)
            else:
                self.genl.do(ADD, cgroup_id=group.id, ctid=200 + groups.index(group), addrs=["10.0.0.1", "fd00::1"])
                known.add(group.id)
            try:
                self.ub.delete(group.id)
            except FileNotFoundError:
                pass
            self.ub.set(group.id, [rounds] * 75)
            if rounds % 3 == 0:
                with_program = dict(ub_refresh_fd=counting_program(self.ub, 1)) if rounds % 2 else {}
                self.hand_over(**with_program)
                for fd in with_program.values():
                    os.close(fd)
            if rounds % 50 == 0:
                self.genl.do(UB_MAPS)
        for reader in readers:
            kmod.end(reader)
        print(f"# {rounds} changes")
        self.assertGreater(rounds, 50)

    def test_unload_under_readers(self):
        script = "while :; do cat /proc/user_beancounters /proc/bc/*/resources /proc/vz/* >/dev/null 2>&1; done"
        readers = [subprocess.Popen(["sh", "-c", script]) for _ in range(3)]
        self.addCleanup(lambda: [kmod.end(reader) for reader in readers])
        for n in range(5):
            group = Group(self, f"u{n}")
            self.genl.do(ADD, cgroup_id=group.id, ctid=101)
            self.hand_over()
            time.sleep(0.3)
            self.assertNotEqual(run(["rmmod", "vz"]).rc, 0)
            self.genl.close()
            wait_for(lambda: run(["umount", PROC]).rc == 0, 20, "umount")
            unload()
            vzmodule.load()
            self.genl = vznetlink.Genl()
            mount()


class Zz(UbTest):
    def test_kernel_has_nothing_to_say(self):
        self.assertEqual(complaints(), [])


if __name__ == "__main__":
    labguest.main(private=False)

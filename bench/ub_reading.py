#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long libvz takes to read all rows of many containers at once, in a guest of the lab:

  tests/lab/run --kernel debian13 --timeout 1800 --env VZ_BUILD=/vz/build -- bench/ub_reading.py [CONTAINERS [ROUNDS]]

Each stands for a container: its control groups, its entries in the maps, its state, one process. Read in one run with the
program that reads all groups, and without it, from the files of each. With --accel icount a nanosecond is an instruction.
"""
import ctypes
import json
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "support"), str(HERE.parent / "tests" / "lab" / "tests")]
import ub  # noqa: E402
import vzhost  # noqa: E402
from labguest import CGROUP  # noqa: E402
from vzbpf import PINS, Map, vz_bpf  # noqa: E402

FIRST = 1000
LOAD = pathlib.Path("/tmp/ub_load")


class Paths(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("etc", "run", "lib")]


def start_time(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


class Containers:
    def __init__(self, count):
        self.root = pathlib.Path(tempfile.mkdtemp())
        for name in ("etc/conf", "run", "lib"):
            (self.root / name).mkdir(parents=True)
        (self.root / "etc/vz.conf").write_text("")
        self.maps = Map("vz_ub", "=76Q"), Map("vz_ub_conf", "=50Q"), ub.vzbpf.conf_map(), ub.vzbpf.state_map()
        self.boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.slice = CGROUP / "vz.slice"
        self.slice.mkdir(exist_ok=True)
        self.enable(self.slice)
        self.children = [self.make(FIRST + number) for number in range(count)]
        ub.stamp()

    def enable(self, group):
        (group / "cgroup.subtree_control").write_text("+memory +pids")

    def make(self, number):
        scope = self.slice / f"vz-{number}.scope"
        scope.mkdir()
        self.enable(scope)
        group = scope / "ct"
        group.mkdir()
        key = group.stat().st_ino
        self.maps[0].set(key, *[0] * 76)
        self.maps[1].set(key, *[1 << 20] * 50)
        self.maps[3].set(key, *[0] * 8)
        self.maps[2].set(key, 0, (1 << 64) - 1, 0, number, 0, 0)
        child = os.posix_spawn(LOAD, ["ub_load", "idle", "1"], {})
        (group / "cgroup.procs").write_text(str(child))
        state = {"version": 1, "id": number, "phase": "running", "init": {"pid": child, "start_time": start_time(child)},
                 "boot_id": self.boot}
        home = self.root / "run" / str(number)
        home.mkdir()
        (home / "state.json").write_text(json.dumps(state))
        return child

    def end(self):
        for child in self.children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


class Reader:
    def __init__(self, root):
        self.lib = ctypes.CDLL(str(next((vzhost.BUILD / "libvz").glob("libvz.so.?"))))
        self.lib.vz_ubc_error.restype = ctypes.c_char_p
        self.lib.vz_ubc_error.argtypes = [ctypes.c_void_p]
        self.handle = ctypes.c_void_p()
        paths = Paths(*(str(root / name).encode() for name in ("etc", "run", "lib")))
        self.check(self.lib.vz_ubc_open(ctypes.byref(self.handle), ctypes.byref(paths)))

    def check(self, status):
        if status:
            raise RuntimeError(self.lib.vz_ubc_error(self.handle))

    def read(self):
        """Milliseconds, and how many there were."""
        count = ctypes.c_size_t()
        began = time.perf_counter()
        self.check(self.lib.vz_ubc_read(self.handle, ctypes.byref(count)))
        return 1000 * (time.perf_counter() - began), count.value


def times(reader, count, rounds):
    found = []
    for _ in range(rounds):
        spent, seen = reader.read()
        assert seen == count, f"{seen} of {count} containers"
        found.append(spent)
    return min(found), statistics.median(found)


def main():
    count, rounds = [int(word) for word in sys.argv[1:]] + [1000, 15][len(sys.argv) - 1:]
    vzhost.run(["gcc", "-O2", "-static", "-pthread", "-o", LOAD, HERE / "ub_load.c"], check=0)
    if os.environ.get("VZ_BENCH_NFT"):
        vzhost.run(["modprobe", "nf_tables"], check=0)
    vz_bpf("load")
    began = time.perf_counter()
    containers = Containers(count)
    print(f"{count} containers made in {time.perf_counter() - began:.0f} s", flush=True)
    reader = Reader(containers.root)
    away = PINS / "prog_away"
    rows = []
    for name in ("files", "program") * 2:
        if name == "files":
            (PINS / "prog_ub_groups").rename(away)
        rows.append((name, *times(reader, count, rounds)))
        if name == "files":
            away.rename(PINS / "prog_ub_groups")
    for name, best, median in rows:
        print(f"{count} containers, {name:8} best {best:8.2f} ms, median {median:8.2f} ms", flush=True)
    files, program = (min(best for name, best, _ in rows if name == kind) for kind in ("files", "program"))
    print(f"ratio {files / program:.1f}; {1000 * program / count:.1f} us per container")
    for kind, program in (("ub_refresh", "ub_refresh"), ("ub_groups", "ub_groups")):
        began = time.perf_counter()
        ub.run_program(program)
        print(f"of it {kind}: {1000 * (time.perf_counter() - began):.2f} ms")
    containers.end()


if __name__ == "__main__":
    main()

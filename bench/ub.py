#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What beancounters cost, in a guest of the lab:

  tests/lab/run --kernel debian13 --cpus 2 --timeout 1800 --env VZ_BUILD=/vz/build -- bench/ub.py [SECONDS [ROUNDS]]

Each operation without any programs, with all of them but outside of containers, and inside, in one run; times are the best
of the rounds, as others may be busy, and mean nothing without KVM: the ratios do. `build` is two compilers at a time. With
--accel icount --cpus 1 a nanosecond is an instruction of the guest. Then memory, and how long reading takes.
"""
import ctypes
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "support"), str(HERE.parent / "tests" / "lab" / "tests")]
import ub  # noqa: E402
from vzbpf import Map, bpf, vz_bpf  # noqa: E402
from vzhost import run, wait_for  # noqa: E402

LOAD = pathlib.Path("/tmp/ub_load")
OPERATIONS = "open socket fork mmap lock serve chat".split()
BUILD = 'for i in 1 2; do gcc -O2 -c -o /tmp/ub_build_$i.o "$1" & done; wait'


def measure(operation, seconds, container=None):
    def enter():
        if operation != "build":
            os.sched_setaffinity(0, {0})
        if container:
            (container.path / "cgroup.procs").write_text("0")
    if operation == "build":
        began = time.perf_counter()
        subprocess.run(["sh", "-c", BUILD, "sh", HERE / "ub_load.c"], preexec_fn=enter, check=True)
        return 1e9 * (time.perf_counter() - began)
    done = subprocess.run([LOAD, operation, str(seconds)], preexec_fn=enter, capture_output=True, text=True, check=True)
    return float(done.stdout)


def times(seconds, rounds):
    names = [*OPERATIONS, "build"]
    found = {name: {place: [] for place in ("without", "outside", "inside")} for name in names}
    vz_bpf("unload")
    for _ in range(rounds):
        for name in names:
            found[name]["without"].append(measure(name, seconds))
    vz_bpf("load")
    container = ub.Container()
    container.configure()
    container.limits(**{row: 1 << 20 for row in ub.COUNTED})
    for _ in range(rounds):
        for name in names:
            found[name]["outside"].append(measure(name, seconds))
            found[name]["inside"].append(measure(name, seconds, container))
    print(f"{'':8}{'without':>10}{'outside':>10}{'ratio':>7}{'inside':>10}{'ratio':>7}   ns per operation")
    for name, places in found.items():
        without, outside, inside = (min(places[place]) for place in ("without", "outside", "inside"))
        print(f"{name:8}{without:10.0f}{outside:10.0f}{outside / without:7.2f}{inside:10.0f}{inside / without:7.2f}", flush=True)
    return container


def memory_of(name, form="=QQ"):
    entries = Map(name, form)
    text = pathlib.Path(f"/proc/self/fdinfo/{entries.fd}").read_text()
    entries.close()
    return int(text.split("memlock:")[1].split()[0])


def sizes(container):
    for kind, name in (("file", "vz_ub_file"), ("udp", "vz_ub_sock"), ("posix", "vz_ub_flock")):
        before = memory_of(name)
        (made, _, _, _), child = container.fill(kind, 900, 1)
        print(f"{name}: {before} bytes, and {(memory_of(name) - before) / made:.0f} per object")
        child.communicate()
    names = ("vz_ub", "vz_ub_conf")
    before = sum(memory_of(name) for name in names)
    entries = Map("vz_ub", "=76Q"), Map("vz_ub_conf", "=50Q")
    for key in range(1 << 40, (1 << 40) + 1000):
        entries[0].set(key, *[0] * 76)
        entries[1].set(key, *[0] * 50)
    print(f"per container: {(sum(memory_of(name) for name in names) - before) / 1000:.0f} bytes")
    return entries


def reading(entries):
    keys, values = ctypes.create_string_buffer(8 * 2048), ctypes.create_string_buffer(608 * 2048)
    at, spent = ctypes.c_uint64(), []
    for _ in range(20):
        attributes = ctypes.create_string_buffer(
            struct.pack("=QQQQII", 0, ctypes.addressof(at), ctypes.addressof(keys), ctypes.addressof(values), 2048,
                        entries[0].fd), 128)
        began = time.perf_counter()
        done = ub._libc.syscall(321, 24, attributes, 128)  # BPF_MAP_LOOKUP_BATCH; ends with ENOENT: that was all
        spent.append(time.perf_counter() - began)
        assert done < 0 and ctypes.get_errno() == 2 and struct.unpack_from("=I", attributes, 32)[0] >= 1000
    print(f"reading {struct.unpack_from('=I', attributes, 32)[0]} containers: {1000 * statistics.median(spent):.2f} ms")
    began = time.perf_counter()
    ub.refresh()
    print(f"ub_refresh with as many containers and 1000 sockets: {1000 * (time.perf_counter() - began):.2f} ms")


def main():
    seconds, rounds = [float(word) for word in sys.argv[1:]] + [0.1, 20.0][len(sys.argv) - 1:]
    here = HERE.parent / "tests" / "lab" / "tests" / "ub_worker.c"
    for source, program in ((HERE / "ub_load.c", LOAD), (here, ub.WORKER)):
        run(["gcc", "-O2", "-static", "-pthread", "-o", program, source], check=0)
    container = times(seconds, int(rounds))
    container.limits()
    entries = sizes(container)
    (made, _, _, _), child = container.fill("udp", 1000, 1)
    reading(entries)
    child.communicate()
    wait_for(lambda: container.held("numothersock") == 0)
    container.remove()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures the memory model with real containers, in a guest of the lab:

  tests/lab/kmod debian13
  tests/lab/run --kernel debian13 --disks 1 --cpus 4 --timeout 3600 --env VZ_BUILD=/vz/build --env VZ_LAB_CACHE=/vz -- \\
      bench/memory.py [--without-module] [PART…]

Parts: rate below neighbour sum density (all of them unless named). Every figure is printed with what it was compared
with in the same run; nothing is asserted.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "support"), str(HERE.parent / "tests" / "lab" / "tests")]
import labguest  # noqa: E402
import vzbpf  # noqa: E402
import vzhost  # noqa: E402
import vzmodule  # noqa: E402
from labguest import MIB, number, scope, vmstat  # noqa: E402
from vzhost import vzctl  # noqa: E402

PAGE = 4096
LOAD = pathlib.Path("/tmp/memory_load")
DISK = "/dev/vdb"
# Without KVM each page that reclaim takes from a process on several CPUs is an interrupt that takes milliseconds.
ONE_CPU = ("--cpumask", "0")
RESULTS = {}


def say(*words):
    print(*words, flush=True)


def record(part, name, **data):
    RESULTS.setdefault(part, {})[name] = data
    say(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in data.items()))


class Containers:
    """Made on demand, all destroyed at the end."""

    def __init__(self):
        self.ids = []

    def start(self, ram, swap, *options):
        ctid = 1_000_000_001 + len(self.ids)
        self.ids.append(ctid)
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "64M", "--ram", ram, "--swap", swap,
              *options, check=0)
        vzctl("start", ctid, check=0)
        vzctl("exec2", ctid, "cat >/load; chmod 755 /load", stdin=LOAD.read_bytes(), check=0)
        return ctid

    def wipe(self, *ids):
        for ctid in ids or list(self.ids):
            vzctl("stop", ctid, "--fast")
            vzctl("destroy", ctid)


class Load:
    """A program inside, from its "ready" to its end."""

    def __init__(self, ctid, *words, ready=True):
        self.process = subprocess.Popen([vzhost.BIN / "vzctl", "exec2", str(ctid), f"exec /load {' '.join(map(str, words))}"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.ctid = ctid
        self.alive = True
        if ready:
            self.alive = self.process.stdout.readline().strip() == "ready"

    def result(self, timeout=300):
        out, err = self.process.communicate(timeout=timeout)
        if self.process.returncode:
            raise SystemExit(f"the load of container {self.ctid} ended with {self.process.returncode}: {err}")
        return out.split()

    def end(self):
        vzctl("exec2", self.ctid, "killall -TERM load")
        return self.result()


def swapped():
    return vmstat("pswpin") + vmstat("pswpout")


def pages_per_second(seconds):
    """Pages that the whole guest moves to and from swap."""
    pages, began = swapped(), time.monotonic()
    time.sleep(seconds)
    return (swapped() - pages) / (time.monotonic() - began)


def set_rate(ctid, rate):
    vzctl("set", ctid, "--vswap-rate", rate, "--save", check=0)


def rate(cts, options):
    """R=64M, S=128M, a working set of 128M: pages per second against the configured rate."""
    ctid = cts.start("64M", "128M", *ONE_CPU)
    for threads in (1, 4):
        most = float("inf")
        for wanted in (0, 2400, 10000, 25600, 100000):
            if most < 1.2 * wanted:
                record("rate", f"{threads} threads, {wanted}", skipped=f"this machine swaps {most:.0f} pages/s at most")
                continue
            set_rate(ctid, 0)  # filled at full speed
            load = Load(ctid, "sweep", 128, threads)
            set_rate(ctid, wanted)
            time.sleep(1)
            measured = [pages_per_second(options.seconds) for _ in range(3)]
            set_rate(ctid, 0)
            load.end()
            middle = statistics.median(measured)
            most = middle if not wanted else most
            off = f"{(middle / wanted - 1) * 100:+.1f} %" if wanted else "no limit"
            record("rate", f"{threads} threads, {wanted or 'unlimited'}", measured=round(middle), difference=off,
                   all=[round(m) for m in measured])
    cts.wipe(ctid)


def machinery(on):
    """The BPF programs; the module alone does nothing to a page."""
    if on:
        vzctl("vswap", "start", check=0)
        return
    running = [vzbpf.program_of(link) for link in vzbpf.PINS.glob("link_*")]
    vzhost.run([vzhost.BUILD / "bpf" / "vz-bpf", "unload"], check=0)
    # The kernel takes its time to detach them, and CPU time.
    vzhost.wait_for(lambda: not any(map(vzbpf.program_lives, running)), 300, "the end of the programs")


def below(cts, options):
    """CPU time of a page fault far below R, with the machinery and without, in turns; in instructions by --accel icount."""
    ctid = cts.start("256M", "256M", *ONE_CPU)
    kinds = {"fault": "8 MiB mapped, touched, unmapped", "refault": "8 MiB touched and dropped",
             "single": "4 KiB mapped, touched, unmapped"}
    series = {(kind, on): [] for kind in kinds for on in (True, False)}
    for _ in range(options.rounds):
        for on in (True, False):
            machinery(on)
            for kind in kinds:
                # the first one after a change brings in what the next ones find
                rates = [float(Load(ctid, kind, options.seconds / 2, ready=False).result()[0]) for _ in range(2)]
                series[kind, on].append(1e9 / rates[1])
    machinery(True)
    for kind, name in kinds.items():
        on, off = (statistics.median(series[kind, key]) for key in (True, False))
        pairs = [a / b for a, b in zip(series[kind, True], series[kind, False])]
        record("below", f"ns of CPU time per page fault, {name}", **{"with": round(on, 1), "without": round(off, 1)},
               cost=f"{(on / off - 1) * 100:+.2f} %", pairs=f"{min(pairs):.4f} .. {max(pairs):.4f}")
    cts.wipe(ctid)


def write(ctid, name, text):
    (scope(ctid) / "ct" / name).write_text(str(text))


def probe(ctid, seconds):
    count, p50, p99, worst = Load(ctid, "probe", seconds, ready=False).result()
    return {"p50_us": int(p50), "p99_us": int(p99), "max_us": int(worst), "samples": int(count)}


def thrashing(ctid, threads=4):
    """R=64M and twice that much in use."""
    return Load(ctid, "sweep", 128, threads)


def disk_swap(on):
    if on:
        vzhost.run(["mkswap", DISK], check=0)
        vzhost.run(["swapon", "-p", "32000", DISK], check=0)
    else:
        vzhost.run(["swapoff", DISK], check=0)


def neighbour(cts, options):
    """Latency of small pieces of work in one container while another one thrashes, both on one CPU."""
    quiet = cts.start("128M", "128M", *ONE_CPU)
    noisy = cts.start("64M", "128M", *ONE_CPU)
    seconds = options.seconds * 2
    record("neighbour", "alone", **probe(quiet, seconds))
    for name, configured in (("vz, 25600 pages/s", 25600), ("vz, 2400 pages/s", 2400), ("zram alone", 0)):
        set_rate(noisy, configured)
        load = thrashing(noisy)
        record("neighbour", name, **probe(quiet, seconds), swapped=round(pages_per_second(2)))
        set_rate(noisy, 0)
        load.end()
    write(noisy, "memory.max", 192 * MIB)
    write(noisy, "memory.high", 64 * MIB)
    load = Load(noisy, "sweep", 128, 4, ready=False)
    time.sleep(options.seconds)
    record("neighbour", "memory.high", **probe(quiet, seconds), swapped=round(pages_per_second(2)))
    write(noisy, "memory.high", "max")
    load.process.stdout.readline()
    load.end()
    write(noisy, "memory.max", 64 * MIB)
    if os.path.exists(DISK):
        disk_swap(True)
        load = thrashing(noisy)
        record("neighbour", "disk swap", **probe(quiet, seconds), swapped=round(pages_per_second(2)))
        load.end()
        disk_swap(False)
    cts.wipe(quiet, noisy)


def total(cts, options):
    """R+S sampled while four threads thrash against it."""
    ctid = cts.start("64M", "128M", *ONE_CPU)
    load = thrashing(ctid)
    ram = swap = both = samples = 0
    end = time.monotonic() + options.seconds * 3
    while time.monotonic() < end:
        r, s = number(ctid, "memory.current"), number(ctid, "memory.swap.current")
        ram, swap, both, samples = max(ram, r), max(swap, s), max(both, r + s), samples + 1
        time.sleep(0.002)
    load.end()
    record("sum", "most, in pages over the limit", samples=samples, ram=(ram - 64 * MIB) // PAGE, swap=(swap - 128 * MIB) // PAGE,
           both=(both - 192 * MIB) // PAGE)
    cts.wipe(ctid)


def fill_host(cts, ram, swap, most):
    """How many containers, each with 64 MiB in use and half of it cold, until one loses a process to the OOM killer."""
    loads, kills = [], vmstat("oom_kill")
    for count in range(most):
        load = Load(cts.start(ram, swap), "hold", 64)
        loads.append(load)
        time.sleep(1.5)  # one turn of the hot half
        dead = [other for other in loads if other.process.poll() is not None]
        if not load.alive or dead or vmstat("oom_kill") > kills:
            break
    else:
        count = most
    free = {line.split(":")[0]: line.split()[1] for line in pathlib.Path("/proc/meminfo").read_text().splitlines()}
    for load in loads:
        load.process.kill()
    cts.wipe(*cts.ids[-len(loads):])
    return count, free


def density(cts, options):
    for name, ram, swap in (("hard limits, R=72M S=0", "72M", "0"), ("VSwap, R=40M S=40M", "40M", "40M")):
        count, free = fill_host(cts, ram, swap, options.most)
        record("density", name, containers=count, available_kib=free["MemAvailable"], swap_free_kib=free["SwapFree"],
               total_kib=free["MemTotal"])


PARTS = {"rate": rate, "below": below, "neighbour": neighbour, "sum": total, "density": density}


def prepare(options):
    vzhost._private_paths()  # the guest is thrown away afterwards
    vzhost.run(["gcc", "-O2", "-static", "-pthread", "-o", LOAD, HERE / "memory_load.c"], check=0)
    if not options.without_module:
        vzmodule.install()
    started = vzctl("vswap", "start", "--size", options.swap, check=0)
    say(started.out.strip(), started.err.strip())
    say(f"kernel {os.uname().release}, {os.cpu_count()} CPUs, "
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MiB")
    for feature in vzctl("check", "--json", check=None).json():
        if feature["name"].startswith(("vswap", "bpf.", "vz.")):
            say(f"  {feature['name']}: {'yes' if feature['present'] else 'no'}, {feature['detail']}")


def main():
    if not os.environ.get("VZ_LAB_NODE"):
        sys.exit("bench/memory.py runs in a guest of tests/lab/run: see its first lines")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without-module", action="store_true", help="what a host without vz.ko does")
    parser.add_argument("--seconds", type=float, default=5, help="of one reading")
    parser.add_argument("--rounds", type=int, default=6, help="pairs with and without the machinery")
    parser.add_argument("--swap", default="1G", help="size of the virtual swap")
    parser.add_argument("--most", type=int, default=60, help="containers at most in the density part")
    parser.add_argument("--json", metavar="FILE", help="also write all figures")
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=" ".join(PARTS))
    options = parser.parse_args()
    prepare(options)
    cts = Containers()
    try:
        for part in options.parts or PARTS:
            say(f"{part}: {PARTS[part].__doc__ or 'containers in one host'}")
            PARTS[part](cts, options)
    finally:
        cts.wipe()
        vzctl("vswap", "stop")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(RESULTS, indent=1))
    say(json.dumps(RESULTS))


if __name__ == "__main__":
    main()

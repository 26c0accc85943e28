#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Times whole commands of vz, interleaved with runc where it has the same command.

Runs as root in namespaces of its own (tests/support/vzhost.py); nothing of the machine's own vz is touched.

    VZ_BUILD=DIR bench/commands.py [--runs N] [--many N] [--configured N] [--json FILE] [PART...]

Parts: start exec status many; all when none is named. Prints a table: the ratio to the peer or the limit first.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "support"))
import vzhost  # noqa: E402

FIRST_ID = 1_000_000_000 + (os.getpid() % 100_000) * 10_000
NULL = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]


class Milliseconds(float):
    """Wall time that knows its CPU time, which a busy machine spoils less."""
    cpu = 0.0


def timed(argv):
    """Milliseconds of one command, fork to reaped; posix_spawn, because a fork of Python costs a millisecond itself."""
    argv = [str(a) for a in argv]
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=NULL)
    _, status, usage = os.wait4(pid, 0)
    took = Milliseconds((time.perf_counter() - began) * 1e3)
    took.cpu = (usage.ru_utime + usage.ru_stime) * 1e3
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}")
    return took


class Times:
    """Samples of one thing in milliseconds."""

    def __init__(self, name):
        self.name, self.samples = name, []

    def add(self, milliseconds):
        self.samples.append(milliseconds)

    @property
    def median(self):
        return statistics.median(self.samples)

    @property
    def cpu(self):
        return statistics.median(s.cpu for s in self.samples)

    def spread(self):
        low, _, high = statistics.quantiles(self.samples, n=4)
        return f"{low:.2f} .. {high:.2f}"

    def summary(self):
        low, middle, high = statistics.quantiles(self.samples, n=4)
        return {"name": self.name, "runs": len(self.samples), "median_ms": middle, "quartiles_ms": [low, high],
                "min_ms": min(self.samples), "samples_ms": [round(s, 4) for s in self.samples]}


class Report:
    def __init__(self):
        self.rows, self.data = [], {}

    def ratio(self, what, ours, peer, target):
        """A median against another one of the same, interleaved run."""
        value = ours.median / peer.median
        self._row(f"{value:.2f}x", target, value <= target, what,
                  f"{ours.median:.2f} ms ({ours.spread()}, CPU {ours.cpu:.2f}) : "
                  f"{peer.median:.2f} ms ({peer.spread()}, CPU {peer.cpu:.2f})", len(ours.samples))
        self.data[what] = {"ratio": value, "target": target, "ours": ours.summary(), "peer": peer.summary()}

    def limit(self, what, ours, target):
        self._row(f"{ours.median / target:.2f} of {target} ms", target, ours.median <= target, what,
                  f"{ours.median:.2f} ms ({ours.spread()}), CPU {ours.cpu:.2f} ms", len(ours.samples))
        self.data[what] = {"target_ms": target, "ours": ours.summary()}

    def value(self, what, text, detail, **data):
        self.rows.append((text, "", what, detail))
        self.data[what] = {"value": text, "detail": detail, **data}

    def times(self, ours):
        self.value(ours.name, f"{ours.median:.2f} ms", f"({ours.spread()}), CPU {ours.cpu:.2f} ms, {len(ours.samples)} runs", ours=ours.summary())

    def _row(self, text, target, met, what, detail, runs):
        self.rows.append((text, "met" if met else f"MISSED ({target})", what, f"{detail}, {runs} runs"))

    def print(self):
        widths = [max(len(row[i]) for row in self.rows) for i in range(4)]
        for row in self.rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def machine():
    cpu = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "?")
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return f"{cpu}, {os.cpu_count()} CPUs, {ram} MiB; Linux {platform.release()}"


def load():
    return " ".join(pathlib.Path("/proc/loadavg").read_text().split()[:3])


VZCTL = vzhost.BIN / "vzctl"
VZLIST = vzhost.BIN / "vzlist"
# What a small server gets: every kind of limit that this host may have, a routed address.
SETTINGS = ("--ram", "64M", "--swap", "0", "--cpuunits", "1000", "--cpulimit", "50", "--numproc", "200", "--cpumask", "0")


def address(n):
    n += 1
    return f"10.99.{n >> 8}.{n & 255}"


def create(n):
    """The n-th container: busybox in an image of its own."""
    ctid = FIRST_ID + n
    vzhost.vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "64M", "--layout", "ploop",
                 "--ipadd", address(n), check=0)
    vzhost.vzctl("set", ctid, *SETTINGS, "--save", check=0)
    return ctid


def copy(origin, n):
    """The n-th container as a copy of a stopped one: a create of each would be most of the run."""
    ctid = FIRST_ID + n
    lib, etc = pathlib.Path("/var/lib/vz/private"), pathlib.Path("/etc/vz/conf")
    vzhost.run(["cp", "-a", "--sparse=always", lib / str(origin), lib / str(ctid)], check=0)
    text = (etc / f"{origin}.conf").read_text()
    (etc / f"{ctid}.conf").write_text(text.replace(f'"{address(origin - FIRST_ID)}"', f'"{address(n)}"'))
    return ctid


def stop(ctid):
    """Milliseconds of the quick stop."""
    return timed([VZCTL, "stop", ctid, "--fast"])


class Runc:
    """A bundle whose root is the busybox tree of a container, mounted by vz beforehand; an empty network namespace, no
    limits, no seccomp filter: less than what the container of vz has."""

    def __init__(self, work, root):
        self.path = shutil.which("runc")
        self.bundle = pathlib.Path(work) / "bundle"
        self.bundle.mkdir()
        shutil.copytree(root, self.bundle / "rootfs", symlinks=True)
        vzhost.run([self.path, "spec", "--bundle", self.bundle], check=0)
        self.config = json.loads((self.bundle / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["process"].pop("rlimits", None)  # needs CAP_SYS_RESOURCE
        self.name = f"vz-bench-{os.getpid()}"

    def write(self, *argv):
        self.config["process"]["args"] = list(argv)
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def run(self):
        return timed([self.path, "run", "--bundle", self.bundle, self.name])

    def start(self):
        self.write("/bin/sleep", "3600")
        timed([self.path, "run", "--detach", "--bundle", self.bundle, self.name])

    def exec(self, *argv):
        return timed([self.path, "exec", self.name, *argv])

    def delete(self):
        vzhost.run([self.path, "delete", "--force", self.name])

    @staticmethod
    def version():
        return vzhost.run(["runc", "--version"]).out.splitlines()[0]


def bench_start(report, args, ctid, runc):
    ours, peer, ends = Times("vzctl start"), Times("runc run /bin/true"), Times("vzctl stop --fast")
    runc.write("/bin/true")
    for i in range(args.runs + 2):
        took = timed([VZCTL, "start", ctid])
        down = stop(ctid)
        other = runc.run()
        if i < 2:
            continue  # caches, vzd
        ours.add(took)
        ends.add(down)
        peer.add(other)
    report.ratio("vzctl start : runc run /bin/true", ours, peer, 0.5)
    report.times(ends)


def bench_exec(report, args, ctid, runc):
    ours, peer = Times("vzctl exec"), Times("runc exec")
    timed([VZCTL, "start", ctid])
    runc.start()
    for i in range(args.runs + 2):
        took, other = timed([VZCTL, "exec", ctid, "true"]), runc.exec("true")
        if i >= 2:
            ours.add(took)
            peer.add(other)
    runc.delete()
    stop(ctid)
    report.ratio("vzctl exec ID true : runc exec ID true", ours, peer, 0.3)


def bench_status(report, args, ctid):
    ours, floor = Times("vzctl status"), Times("/bin/true, the cost of any process")
    timed([VZCTL, "start", ctid])
    for _ in range(args.runs * 5):
        ours.add(timed([VZCTL, "status", ctid]))
        floor.add(timed(["/bin/true"]))
    stop(ctid)
    report.limit("vzctl status", ours, 3)
    report.times(floor)


def vzd_memory():
    """(VmRSS, Pss, private dirty) of vzd in KiB."""
    pid = int(pathlib.Path("/run/vz/vzd.pid").read_text())
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value = line.split(":")
        fields[key] = int(value.split()[0])
    return fields["Rss"], fields["Pss"], fields["Private_Dirty"]


def own_processes():
    """Host-side processes of vz: everything that runs one of its programs."""
    found = 0
    for exe in pathlib.Path("/proc").glob("[0-9]*/exe"):
        try:
            found += pathlib.Path(os.readlink(exe)).parent == vzhost.BIN
        except OSError:
            pass
    return found


def slope(values):
    """Least squares: (growth per item, its standard error)."""
    n, xs = len(values), range(len(values))
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(values)
    spread = sum((x - mean_x) ** 2 for x in xs)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, values)) / spread
    rest = sum((y - mean_y - rise * (x - mean_x)) ** 2 for x, y in zip(xs, values))
    return rise, (rest / (n - 2) / spread) ** 0.5


def configure_only(ids):
    """Containers that are only configured: a file and a private area with an (empty) image."""
    text = pathlib.Path(f"/etc/vz/conf/{FIRST_ID}.conf").read_text()
    for ctid in ids:
        pathlib.Path(f"/etc/vz/conf/{ctid}.conf").write_text(text)
        private = pathlib.Path(f"/var/lib/vz/private/{ctid}")
        private.mkdir(parents=True, exist_ok=True)
        (private / "root.img").touch()


def bench_many(report, args, origin):
    starts = Times(f"vzctl start, {args.many} in a row")
    ids = [copy(origin, n) for n in range(1, args.many + 1)]
    os.sync()
    before = None
    started = []
    try:
        for ctid in ids:
            starts.add(timed([VZCTL, "start", ctid]))
            started.append(ctid)
            if len(started) == 1:
                before = (vzd_memory(), own_processes())
        after = (vzd_memory(), own_processes())
        configure_only(range(FIRST_ID + args.many + 1, FIRST_ID + args.configured))
        listing, status = Times("vzlist -a"), Times("vzctl status among them")
        for _ in range(args.runs + 1):
            listing.add(timed([VZLIST, "-a"]))
            status.add(timed([VZCTL, "status", ids[-1]]))
        del listing.samples[0], status.samples[0]
    finally:
        for ctid in started:
            stop(ctid)
    report.times(starts)
    for what, values in (("wall", starts.samples), ("CPU", [s.cpu for s in starts.samples])):
        rise, error = slope(values)
        report.value(f"slope of these starts, {what}", f"{rise * 1e3:+.1f} us per running container",
                     f"standard error {error * 1e3:.1f} us", us=rise * 1e3, error_us=error * 1e3)
    more = args.many - 1
    growth = [b - a for a, b in zip(before[0], after[0])]
    report.value("vzd growth per container", f"{growth[2] * 1024 / more:.0f} B",
                 f"over {more} containers: RSS {before[0][0]} -> {after[0][0]} KiB, Pss {before[0][1]} -> {after[0][1]} KiB, "
                 f"private dirty {before[0][2]} -> {after[0][2]} KiB", growth_kib=growth)
    report.value("host processes per container", f"{(after[1] - before[1]) / more:.0f}",
                 f"{before[1]} with one running, {after[1]} with {args.many}")
    report.limit(f"vzlist -a, {args.configured} configured, {args.many} running", listing, 30)
    report.limit("vzctl status among them", status, 3)


def run_parts(args, work):
    report = Report()
    parts = args.parts or ["start", "exec", "status", "many"]
    ctid = create(0)
    timed([VZCTL, "start", ctid])  # starts vzd
    stop(ctid)
    if {"start", "exec"} & set(parts):
        timed([VZCTL, "mount", ctid])
        runc = Runc(work, f"/var/lib/vz/root/{ctid}")
        timed([VZCTL, "umount", ctid])
    if "start" in parts:
        bench_start(report, args, ctid, runc)
    if "exec" in parts:
        bench_exec(report, args, ctid, runc)
    if "status" in parts:
        bench_status(report, args, ctid)
    if "many" in parts:
        bench_many(report, args, ctid)
    return report


def clean_up(work):
    """Whatever still runs, after a failure; cgroups and loop devices would outlive the namespaces."""
    for state in pathlib.Path("/run/vz").glob("[0-9]*"):
        vzhost.vzctl("stop", state.name, "--fast")
    vzhost.stop_vzd()
    vzhost.run(["umount", "-l", "/var/lib/vz"])
    shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="Time whole commands of vz.")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--many", type=int, default=200, help="containers started one after another")
    parser.add_argument("--configured", type=int, default=1000, help="containers that vzlist -a shows")
    parser.add_argument("--json", metavar="FILE", help="also write all samples")
    parser.add_argument("parts", nargs="*", metavar="PART", help="start exec status many")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("root is needed")
    if os.environ.get(vzhost._INSIDE) != "1":
        vzhost._enter_namespaces()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = vzhost._private_paths()
    began = load()
    try:
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            report = run_parts(args, scratch)
    finally:
        clean_up(work)
    print(f"{machine()}; {Runc.version() if shutil.which('runc') else 'no runc'}; load before {began}, after {load()}")
    report.print()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"machine": machine(), "results": report.data}, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a container stands still when it moves to another node, and how long a client of it waits.

Two nodes and a client are namespaces of this machine (tests/support/{node,segment}.py). In turn with each move the same
container is suspended and resumed on its node, which is what CRIU alone does (dump to a disk, restore from it): the peer.

    VZ_BUILD=DIR bench/migration.py [--runs N] [--lazy] [--json FILE] [CASE...]

Cases: small (one program), systemd (Debian with its services and a web server), 256 and 1024 (MiB, written at 20 MiB/s).

    VZ_BUILD=DIR bench/migration.py --link MBS [--runs N] [--json FILE]

A stopped Debian through a connection that carries so many megabytes a second, as it is (the peer) and compressed where that
is found to be faster, in turns.

    VZ_BUILD=DIR bench/migration.py --runc [--runs N] [--json FILE] [CASE...]

`vzctl suspend` and `resume` against `runc checkpoint` and `restore` of the same program, with the same CRIU, in turns; all
cases but systemd, which runc does not run.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "support"))
import segment  # noqa: E402
import vzhost  # noqa: E402
from commands import Runc, timed  # noqa: E402
from node import VZCTL, Node, large_pipes  # noqa: E402
from vzhost import run, vzctl  # noqa: E402

CTID = 1_900_000_001
ADDRESS = segment.PREFIX + "60"
CASES = {"small": ("busybox", 0, 0), "systemd": ("debian", 0, 0), "256": ("busybox", 256, 20), "1024": ("busybox", 1024, 20)}

SLOW = """
import os, sys, time
rate, due = float(sys.argv[1]) * 1e6, time.monotonic()
while data := os.read(0, 65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    due = max(due, time.monotonic() - 0.05) + len(data) / rate
    time.sleep(max(0, due - time.monotonic()))
"""


class Cleanups(contextlib.ExitStack):
    addCleanup = contextlib.ExitStack.callback


class Bench:
    def __init__(self, cleanups):
        self.node = Node(cleanups, "b")
        self.segment = segment.Segment(cleanups)
        self.segment.plug(os.getpid(), 1)
        self.segment.plug(self.node.holder.pid, 2)
        cleanups.callback(self.wipe)
        large_pipes(cleanups)
        self.worker = self.node.work / "dirty_worker"
        run(["gcc", "-O2", "-static", "-o", self.worker, pathlib.Path(vzhost.__file__).parent / "dirty_worker.c"], check=0)

    def wipe(self):
        self.node.wipe(CTID)
        vzctl("stop", CTID, "--fast")
        vzctl("destroy", CTID)

    def start(self, template, mib, rate):
        name = vzhost.debian_template() if template == "debian" else vzhost.busybox_template()
        vzctl("create", CTID, "--ostemplate", name, "--ram", f"{mib + 512}M", "--swap", "0", "--diskspace", "1G",
              "--ipadd", ADDRESS, check=0)
        vzctl("start", CTID, "--wait", check=0, timeout=300)
        if template == "debian":
            vzctl("exec", CTID, "cat >/root/echo.pl", stdin=segment.ECHO_SERVER, check=0)
            vzctl("exec", CTID, "systemd-run --unit=echo perl /root/echo.pl", check=0)
        else:
            vzctl("exec", CTID, "nc -ll -p 7000 -e cat >/dev/null 2>&1 </dev/null &", check=0)
        vzhost.wait_for(lambda: ":1B58" in vzctl("exec", CTID, "cat /proc/net/tcp /proc/net/tcp6").out, what="the server")
        if mib:
            vzctl("exec", CTID, "cat >/worker; chmod 755 /worker", stdin=self.worker.read_bytes(), check=0)
            vzctl("exec", CTID, f"/worker {mib} {rate} >/log 2>&1 </dev/null &", check=0)
            vzhost.wait_for(lambda: "ok" in vzctl("exec", CTID, "cat /log").out, timeout=120, what="the worker")

    def pause_of(self, talker, action):
        """What `action` returns, and the client's longest wait meanwhile in milliseconds."""
        before, talker.longest = talker.look(), 0.0
        out = action()
        vzhost.wait_for(lambda: talker.look() > before + 50, what="answers")
        time.sleep(0.5)
        talker.look()
        return out, talker.longest * 1000

    def case(self, template, mib, rate, runs, lazy=False):
        self.start(template, mib, rate)
        talker = self.segment.talker(ADDRESS)
        rows = {"stopped": [], "client": [], "peer client": [], "total": [], "sent": [], "placed": []}
        more = ["--lazy"] if lazy else []
        for _ in range(runs):
            _, waited = self.pause_of(talker, lambda: [vzctl("suspend", CTID, check=0, timeout=300),
                                                       vzctl("resume", CTID, check=0, timeout=300)])
            rows["peer client"].append(waited)
            for call, options in ((vzctl, ("b", "--transport", self.node.transport())),
                                  (self.node.vzctl, ("a", "--transport", self.node.back()))):
                report, waited = self.pause_of(
                    talker, lambda: call("migrate", CTID, *options, "--live", *more, "--json", check=0, timeout=600).json())
                rows["stopped"].append(report["down_milliseconds"])
                rows["client"].append(waited)
                rows["total"].append(report["total_milliseconds"])
                rows["sent"].append(sum(p["sent"] for p in report["passes"] if p["kind"] != "disk") / (1 << 20))
                rows["placed"].append(report["lazy_bytes"] / (1 << 20))
        if mib and "wrong" in vzctl("exec", CTID, "cat /log", check=0).out:
            raise SystemExit("a page was wrong")
        talker.end()
        self.wipe()
        return rows

    def link(self, megabytes, runs):
        """[milliseconds, bytes sent] of each move, by --compress."""
        (self.node.work / "slow.py").write_text(SLOW)
        slow = self.node.executable("slow", f"python3 {self.node.work}/slow.py {megabytes} | {self.node.transport()}")
        vzctl("create", CTID, "--ostemplate", vzhost.debian_template(), "--diskspace", "1G", check=0)
        rows = {"no": [], "auto": []}
        for _ in range(runs):
            for how, row in rows.items():
                report = vzctl("migrate", CTID, "b", "--transport", slow, "--compress", how, "--json", check=0, timeout=600).json()
                row.append([report["total_milliseconds"], report["bytes_sent"]])
                self.node.vzctl("migrate", CTID, "a", "--transport", self.node.back(), check=0, timeout=600)
        self.wipe()
        return rows

    def against_runc(self, mib, rate, runs):
        """Milliseconds of both commands together, by who."""
        self.start("busybox", mib, rate)
        archive = vzhost.TEMPLATES / "cache" / f"{vzhost.busybox_template()}.tar.zst"
        with tempfile.TemporaryDirectory(dir=self.node.work) as work, contextlib.ExitStack() as stack:
            rootfs = pathlib.Path(work, "rootfs")
            rootfs.mkdir()
            run(["tar", "-I", "zstd", "-xf", archive, "-C", rootfs], check=0)
            runc = CheckpointedRunc(work, rootfs)
            stack.callback(runc.delete)
            run(["cp", self.worker, runc.bundle / "rootfs" / "worker"], check=0)
            runc.launch(f"/worker {mib} {rate} >/log" if mib else "nc -ll -p 7000 -e cat")
            if mib:
                vzhost.wait_for(lambda: "ok" in runc.look("/log"), timeout=120, what="the worker")
            rows = {"vz": [], "runc": []}
            for _ in range(runs):
                rows["vz"].append(timed([VZCTL, "suspend", CTID]) + timed([VZCTL, "resume", CTID]))
                rows["runc"].append(runc.save_and_restore())
            for log in [vzctl("exec", CTID, "cat /log", check=0).out, runc.look("/log")] if mib else []:
                if "wrong" in log or "ok" not in log:
                    raise SystemExit("a page was wrong")
        self.wipe()
        return rows


class CheckpointedRunc(Runc):
    def launch(self, command):
        # What it has open must be its own; CRIU's lock of the network needs iptables, and there is none to lock.
        options = self.bundle / "criu.conf"
        options.write_text("network-lock skip\n")
        self.config.setdefault("annotations", {})["org.criu.config"] = str(options)
        self.config["root"]["readonly"] = False
        self.write("/bin/sh", "-c", f"exec </dev/null >/dev/null 2>&1; {command}")
        timed([self.path, "run", "--detach", "--bundle", self.bundle, self.name])

    def look(self, path):
        return run([self.path, "exec", self.name, "cat", path]).out

    def save_and_restore(self):
        image = ["--image-path", self.bundle / "image", "--work-path", self.bundle / "work"]
        took = timed([self.path, "checkpoint", *image, self.name])
        took += timed([self.path, "restore", "--detach", "--bundle", self.bundle, *image, self.name])
        run(["rm", "-r", self.bundle / "image"], check=0)
        return took


def print_runc(name, rows):
    ours, theirs = (statistics.median(rows[who]) for who in ("vz", "runc"))
    print(f"{name:10} {ours / theirs:5.2f}x  vz {ours:.0f} (worst {max(rows['vz']):.0f}), runc {theirs:.0f} "
          f"(worst {max(rows['runc']):.0f})", flush=True)


def print_case(name, rows):
    def cell(key):
        return f"{statistics.median(rows[key]):.0f} / {max(rows[key]):.0f}"
    ratio = statistics.median(rows["client"]) / statistics.median(rows["peer client"])
    print(f"{name:10} {ratio:5.2f}x {cell('stopped'):>14} {cell('client'):>14} {cell('peer client'):>16} "
          f"{statistics.median(rows['total']):8.0f} {statistics.median(rows['sent']):14.0f} {statistics.median(rows['placed']):10.0f}", flush=True)


def print_link(rows, megabytes):
    milliseconds, sent = ({how: statistics.median(run[i] for run in row) for how, row in rows.items()} for i in (0, 1))
    print(f"{megabytes:g} MB/s: as it is {milliseconds['no'] / 1000:.1f} s, {sent['no'] / 1e6:.0f} MB; compressed "
          f"{milliseconds['auto'] / 1000:.1f} s, {sent['auto'] / 1e6:.0f} MB; {milliseconds['auto'] / milliseconds['no']:.2f}x")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="each is one suspend and resume, and two moves")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--lazy", action="store_true", help="move with --lazy")
    parser.add_argument("--runc", action="store_true")
    parser.add_argument("--link", type=float, metavar="MBS")
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    options = parser.parse_args()
    vzhost.enter_private_host()
    results = {}
    try:
        with Cleanups() as cleanups:
            bench = Bench(cleanups)
            print(f"# {platform.release()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; milliseconds, median and worst")
            if options.link:
                results["link"] = bench.link(options.link, options.runs)
                print_link(results["link"], options.link)
            elif options.runc:
                os.environ["PATH"] = f"/usr/local/lib/vz/criu:{os.environ['PATH']}"  # runc takes the CRIU that vz takes
                for name in options.cases or [name for name in CASES if name != "systemd"]:
                    results[name] = bench.against_runc(*CASES[name][1:], options.runs)
                    print_runc(name, results[name])
            else:
                print(f"{'case':10} {'ratio':>6} {'stands still':>14} {'client waits':>14} {'suspend+resume':>16} {'in all':>8} "
                      f"{'MiB of memory':>14} {'of it late':>10}")
                for name in options.cases or CASES:
                    results[name] = bench.case(*CASES[name], options.runs, options.lazy)
                    print_case(name, results[name])
    finally:
        vzhost.leave_private_host()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

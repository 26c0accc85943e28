#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What quotas cost, and how long after a power cut they are right. Runs on the development machine and boots the lab's guests:

    bench/quota.py [--rounds N] [--json FILE] crash KERNEL [COUNT…]     default: uml 10000 100000
    bench/quota.py [--rounds N] [--json FILE] cost KERNEL [COUNT]

crash: COUNT files in a container of the dir layout on ext4 and on XFS, in one of the image layout, and on an ext4 with quota files
(vfsv1). All of them are written to when the machine is killed. After the next boot: how long until each is mounted and its
container runs, against a scan of the same tree (what vzquota did) and quotacheck. The trees are read from a cold cache.

cost: COUNT files made, appended to and removed by a user under limits for himself, his group and his project, and on the same
file system without quotas, in turns; medians. In QEMU the clock counts instructions (tests/lab/run --accel icount).

The guests are emulated: compare figures of one run with each other, not with those of real machines.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
LAB = TESTS / "lab"
sys.path[:0] = [str(TESTS / "support"), str(LAB / "tests")]
DISKS = {"ext4": "/dev/vdb", "xfs": "/dev/vdc", "vfsv1": "/dev/vdd"}
JOURNALED = ["-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"]
ALL_KINDS = "usrquota,grpquota,prjquota"
LOAD = pathlib.Path("/var/tmp/quota_load")
FIRST_USER, SIZE = 100000, 1000
STEPS = ("create", "append", "unlink")
CONTAINERS = {"dir on ext4": (101, "ext4", "dir"), "dir on xfs": (102, "xfs", "dir"), "image on ext4": (103, "ext4", "image")}


def say(*words):
    print(*words, flush=True)


def top(kind):
    return pathlib.Path("/m") / kind


def tree_of(name):
    """Where the container's files are on the host while it is mounted."""
    ctid, kind, layout = CONTAINERS[name]
    return top(kind) / str(ctid) / "fs" if layout == "dir" else pathlib.Path(f"/var/lib/vz/root/{ctid}")


# ---- in the guest

def run(*command, **options):
    from vzhost import run as run_
    return run_([str(word) for word in command], **{"check": 0, "timeout": 3600, **options})


def timed(function, *arguments):
    began = time.monotonic()
    result = function(*arguments)
    return time.monotonic() - began, result


def build_load():
    run("gcc", "-O2", "-o", LOAD, HERE / "quota_load.c")


def load(directory, *words, user=None):
    as_user = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []
    command = [str(word) for word in (*as_user, LOAD, *words)]
    return subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True).stdout


def cold():
    run("sync")
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def mount(kind):
    top(kind).mkdir(parents=True, exist_ok=True)
    options = ["-t", "ext4", "-o", "usrquota,grpquota"] if kind == "vfsv1" else ["-t", kind, "-o", ALL_KINDS]
    run("mount", *options, pathlib.Path(DISKS[kind]).resolve(), top(kind))


def bring_vz():
    """vz's own directories, on the disk that survives."""
    for name, path in (("lib", "/var/lib/vz"), ("conf", "/etc/vz/conf")):
        (top("ext4") / name).mkdir(exist_ok=True)
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", top("ext4") / name, path)
    pathlib.Path("/etc/vz/names").mkdir(exist_ok=True)
    text = pathlib.Path("/vz/src/etc/vz.conf").read_text()
    pathlib.Path("/etc/vz/vz.conf").write_text(text + '\nTEMPLATE="/vz/template"\nLOGGING="no"\nCONFIGFILE=""\n')


def prepare(count):
    """Everything made and filled; then it is written to for ever."""
    import vzhost
    run("mkfs.ext4", "-q", "-F", "-i", "4096", *JOURNALED, DISKS["ext4"])
    run("mkfs.xfs", "-q", "-f", DISKS["xfs"])
    run("mkfs.ext4", "-q", "-F", "-i", "4096", "-O", "^quota", DISKS["vfsv1"])
    for kind in DISKS:
        mount(kind)
    bring_vz()
    busy = []
    for name, (ctid, kind, layout) in CONTAINERS.items():
        room = ["--diskspace", f"{count * 6 // 1024 + 128}M"]
        vzhost.vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", layout, "--private", top(kind) / str(ctid),
                     "--ram", "128M", "--swap", "0", "--diskinodes", 2 * count + 4000, *room, check=0, timeout=600)
        vzhost.vzctl("mount", ctid, check=0)
        busy.append(fill(tree_of(name) / "data", count, name))
    run("quotacheck", "-cug", "-F", "vfsv1", top("vfsv1"))
    run("quotaon", "-ug", top("vfsv1"))
    busy.append(fill(top("vfsv1") / "data", count, "vfsv1"))
    run("sync")
    writers = [subprocess.Popen([LOAD, "busy"], cwd=directory) for directory in busy]
    return max(writer.wait() for writer in writers)


def fill(directory, count, name):
    directory.mkdir()
    seconds, _ = timed(load, directory, "fill", count, SIZE)
    say(f"filled {name} in {seconds:.0f} s")
    (directory / "busy").mkdir()
    return directory / "busy"


def measure():
    """After the cut. Seconds of everything, by name."""
    import vzhost
    from quotafs import PROJECT, disk_usage, project_of, quota
    seconds, wrong = {}, []
    for kind in DISKS:
        seconds[f"mount {kind}"], _ = timed(mount, kind)
    bring_vz()
    for name, (ctid, kind, layout) in CONTAINERS.items():
        seconds[f"start {name}"], _ = timed(lambda ctid=ctid: vzhost.vzctl("start", ctid, check=0, timeout=600))
        vzhost.vzctl("stop", ctid, "--fast", check=0)
        if layout == "dir":
            now = quota(top(kind), PROJECT, project_of(tree_of(name))[0])
            if (now["bytes"], now["inodes"]) != disk_usage(tree_of(name)):
                wrong.append(f"{name}: {now}")
    for name, (ctid, kind, layout) in CONTAINERS.items():
        if layout == "dir":
            run("umount", "-R", "-l", "/var/lib/vz", "/etc/vz/conf", check=None)
            run("umount", top(kind))
            cold()
            mount(kind)
            seconds[f"scan {kind}"], _ = timed(load, tree_of(name), "scan")
    seconds["quotacheck vfsv1"], _ = timed(lambda: run("quotacheck", "-ugf", "-F", "vfsv1", top("vfsv1")))
    run("quotaon", "-ug", top("vfsv1"))
    say("measured " + json.dumps({"seconds": seconds, "wrong": wrong}))
    return 1 if wrong else 0


def one_cost(directory, count):
    """Seconds of each step, in a directory of its own below."""
    place = directory / "work"
    place.mkdir()
    os.chown(place, FIRST_USER, FIRST_USER)
    cold()
    lines = load(place, "work", count, 4096, user=FIRST_USER).splitlines()
    place.rmdir()
    return {step: (float(wall), float(busy)) for step, wall, busy in (line.split() for line in lines)}


def cost(count, rounds):
    from quotafs import GROUP, PROJECT, USER, set_hard
    run("mkfs.ext4", "-q", "-F", "-O", "^quota", "-E", "lazy_itable_init=0", "/dev/vdb")
    run("mkfs.ext4", "-q", "-F", *JOURNALED[:2], "-E", JOURNALED[3] + ",lazy_itable_init=0", "/dev/vdc")
    for disk in "/dev/vdd", "/dev/vde":
        run("mkfs.xfs", "-q", "-f", disk)
    sides = {"ext4": ("/dev/vdb", "/dev/vdc"), "xfs": ("/dev/vdd", "/dev/vde")}
    for kind, disks in sides.items():
        for number, disk in enumerate(disks):
            where = top(f"{kind}{number}")
            where.mkdir(parents=True)
            run("mount", "-t", kind, *(("-o", ALL_KINDS) if number else ()), pathlib.Path(disk).resolve(), where)
            if number:
                if kind == "ext4":
                    run("chattr", "+P", "-p", "77", where)
                else:
                    run("xfs_io", "-c", "chproj 77", "-c", "chattr +P", where)
                for what, who in ((USER, FIRST_USER), (GROUP, FIRST_USER), (PROJECT, 77)):
                    set_hard(where, what, who, 1 << 40, 1 << 30)
    taken = {}
    for number in range(rounds + 1):
        for kind in sides:
            for side in (0, 1) if number % 2 else (1, 0):
                found = one_cost(top(f"{kind}{side}"), count)
                for step, (wall, busy) in found.items():
                    if number:  # the first one warms up
                        taken.setdefault(f"{kind} {step}", ([], []))[side].append((wall, busy))
    say("measured " + json.dumps(taken))
    return 0


# ---- on the development machine

def boot(kernel, disks, *words, options=()):
    return subprocess.Popen([LAB / "run", "--kernel", kernel, "--no-build", "--disks", "4", "--disks-in", disks, "--memory", "1536M",
                             "--timeout", "7200", *options, "--env", "VZ_BUILD=/vz/build", "--env", "VZ_LAB_CACHE=/vz",
                             "--source", HERE.parent, "--", "unshare", "--mount", "--propagation", "private",
                             "/vz/src/bench/quota.py", "guest", *map(str, words)],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)


def follow(process, stop_at=None):
    """What it measured; with `stop_at` it is killed after so many lines of its writers."""
    found, lines, ticks = None, [], 0
    for line in process.stdout:
        if line == "tick\n":
            ticks += 1
            if ticks == stop_at:
                for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            continue
        lines.append(line)
        if line.startswith("measured "):
            found = json.loads(line[len("measured "):])
        elif line.startswith("filled"):
            say("  " + line.strip())
    status = process.wait()
    if found is None and (stop_at is None or ticks < stop_at):
        raise SystemExit(f"the guest ended with status {status}:\n" + "".join(lines[-40:]))
    return found


@contextlib.contextmanager
def disk_files(gigabytes):
    with tempfile.TemporaryDirectory(prefix="vz-quota-", dir=os.environ.get("VZ_TEST_DIR", "/var/tmp")) as name:
        directory = pathlib.Path(name)
        for number in range(1, 5):
            with open(directory / f"node1.disk{number}", "wb") as file:
                file.truncate(gigabytes << 30)
        yield directory


def crash(options):
    results = {}
    for count in map(int, options.values or ["10000", "100000"]):
        with disk_files(max(1, -(-count * 16 // (1 << 20)))) as disks:
            samples = []
            follow(boot(options.kernel, disks, "prepare", count), stop_at=60)
            for number in range(options.rounds):
                samples.append(follow(boot(options.kernel, disks, "measure")))
                if number + 1 < options.rounds:
                    follow(boot(options.kernel, disks, "again"), stop_at=60)
        wrong = [line for sample in samples for line in sample["wrong"]]
        middle = {key: statistics.median(sample["seconds"][key] for sample in samples) for key in samples[0]["seconds"]}
        results[count] = {"seconds": middle, "wrong": wrong, "all": samples}
        say(f"{options.kernel}, {count} files, medians of {options.rounds} cuts{', USAGE IS WRONG' if wrong else ''}:")
        for key, seconds in middle.items():
            say(f"  {key:24} {seconds:8.3f} s")
        for kind in ("ext4", "xfs"):
            mounted = middle[f"mount {kind}"]
            say(f"  usage right, {kind}: {mounted:.2f} s; with a scan {(mounted + middle[f'scan {kind}']) / mounted:.1f} times that")
    return results


def cost_of(options):
    accel = () if options.kernel.startswith("uml") else ("--accel", "icount", "--cpus", "1")
    count = (options.values or ["2000"])[0]
    with disk_files(1) as disks:
        taken = follow(boot(options.kernel, disks, "cost", count, options.rounds, options=accel))
    results = {}
    for key, (without, with_) in taken.items():
        middle = [[statistics.median(sample[i] for sample in side) for i in (0, 1)] for side in (without, with_)]
        results[key] = {"without": middle[0], "with": middle[1], "all": taken[key]}
        wall, busy = (100 * (middle[1][i] / middle[0][i] - 1) for i in (0, 1))
        say(f"  {key:12} without {middle[0][0]:.3f} s, with {middle[1][0]:.3f} s: {wall:+.1f} %; CPU {busy:+.1f} %")
    return results


def guest(words):
    build_load()
    what, rest = words[0], words[1:]
    if what == "prepare":
        return prepare(int(rest[0]))
    if what == "again":
        return write_again()
    if what == "measure":
        return measure()
    return cost(int(rest[0]), int(rest[1]))


def write_again():
    """For another cut."""
    import vzhost
    for kind in DISKS:
        mount(kind)
    run("quotacheck", "-ugf", "-F", "vfsv1", top("vfsv1"))
    run("quotaon", "-ug", top("vfsv1"))
    bring_vz()
    places = [top("vfsv1") / "data"]
    for name, (ctid, _, _) in CONTAINERS.items():
        vzhost.vzctl("mount", ctid, check=0)
        places.append(tree_of(name) / "data")
    writers = [subprocess.Popen([LOAD, "busy"], cwd=place / "busy") for place in places]
    return max(writer.wait() for writer in writers)


def main():
    if sys.argv[1:2] == ["guest"]:
        return guest(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("what", choices=("crash", "cost"))
    parser.add_argument("kernel", nargs="?", default="uml")
    parser.add_argument("values", nargs="*", metavar="COUNT")
    options = parser.parse_args()
    results = (crash if options.what == "crash" else cost_of)(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What quotas cost, and how long after a power cut they are right. Runs on the development machine and boots the lab's guests:

    bench/quota.py [--rounds N] [--json FILE] crash KERNEL [COUNT…]     default: uml 10000 100000
    bench/quota.py [--rounds N] [--json FILE] cost KERNEL [COUNT]
    bench/quota.py [--rounds N] [--json FILE] calls KERNEL

crash: COUNT files in a container of the dir layout on ext4 and on XFS, in one of the image layout, and on an ext4 with quota files
(vfsv1). All of them are written to when the machine is killed. After the next boot: how long until each is mounted and its
container runs, against a scan of the same tree (what vzquota did) and quotacheck; and where the kernel has btrfs, a rescan of the
qgroups of such a tree. The trees are read from a cold cache.

cost: COUNT files made, appended to, removed, made and fsynced one by one, and one of 64 MiB, by a user on a file system without
quotas, under a limit for the project, and under such for the project, himself and his group, in turns: medians, with half of the
pairs. In QEMU the clock counts instructions (tests/lab/run --accel icount); the CPU's time is that of all tasks, with those of the
kernel that write to the disk.

calls: what system calls of quotas take, in nanoseconds; what kmod/patches change is to be compared with what a kernel without them
does (VZ_PATCHES may name a directory with a shorter series). Of user-mode Linux it is mostly the way into its kernel.

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
DISKS = {"ext4": "/dev/vdb", "xfs": "/dev/vdc", "vfsv1": "/dev/vdd", "btrfs": "/dev/vde"}
JOURNALED = ["-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"]
ALL_KINDS = "usrquota,grpquota,prjquota"
LOAD = pathlib.Path("/var/tmp/quota_load")
CALLS = pathlib.Path("/var/tmp/quota_calls")
FIRST_USER, SIZE = 100000, 1000
DISK_COUNT = 6
# What is counted for whom: nobody; the container, the first level; its users and groups as well.
LEVELS = {"none": (), "first": ("prj",), "both": ("usr", "grp", "prj")}
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
    for program in (LOAD, CALLS):
        run("gcc", "-O2", "-static", "-o", program, HERE / f"{program.name}.c")


def kinds():
    """Those that this kernel has; user-mode Linux has no btrfs."""
    return [kind for kind in DISKS if kind != "btrfs" or run("modprobe", "btrfs", check=None).rc == 0]


def load(directory, *words, user=None):
    as_user = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []
    command = [str(word) for word in (*as_user, LOAD, *words)]
    return subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, text=True).stdout


def cold():
    run("sync")
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def mount(kind):
    top(kind).mkdir(parents=True, exist_ok=True)
    options = {"vfsv1": ["-t", "ext4", "-o", "usrquota,grpquota"], "btrfs": ["-t", "btrfs"]}
    run("mount", *options.get(kind, ["-t", kind, "-o", ALL_KINDS]), pathlib.Path(DISKS[kind]).resolve(), top(kind))


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
    if "btrfs" in kinds():
        run("mkfs.btrfs", "-q", "-f", DISKS["btrfs"])
    for kind in kinds():
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
    if "btrfs" in kinds():
        run("btrfs", "quota", "enable", top("btrfs"))
        run("btrfs", "subvolume", "create", top("btrfs") / "sub")
        busy.append(fill(top("btrfs") / "sub" / "data", count, "btrfs"))
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
    for kind in kinds():
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
    if "btrfs" in kinds():
        cold()
        seconds["rescan btrfs"], _ = timed(lambda: run("btrfs", "quota", "rescan", "-w", top("btrfs")))
        cold()
        seconds["scan btrfs"], _ = timed(load, top("btrfs") / "sub" / "data", "scan")
    say("measured " + json.dumps({"seconds": seconds, "wrong": wrong}))
    return 1 if wrong else 0


def one_cost(directory, count):
    """Seconds, seconds of CPU, writes and KiB of each step, in a directory of its own below."""
    place = directory / "work"
    place.mkdir()
    os.chown(place, FIRST_USER, FIRST_USER)
    cold()
    lines = load(place, "work", count, 4096, user=FIRST_USER).splitlines()
    place.rmdir()
    return {words[0]: tuple(map(float, words[1:])) for words in map(str.split, lines)}


def make_counted(kind, disk, where, types):
    """A file system whose root has the project 77, with limits that nobody meets."""
    from quotafs import GROUP, PROJECT, USER, set_hard
    options = ["-E", "lazy_itable_init=0"]
    if types:
        options = ["-O", "quota,project", "-E", f"lazy_itable_init=0,quotatype={':'.join(name + 'quota' for name in types)}"]
    run(f"mkfs.{kind}", "-q", *(["-F", *options] if kind == "ext4" else ["-f"]), disk)
    where.mkdir(parents=True)
    mounted = ["-o", ",".join(f"{name}quota" for name in types)] if types else []
    run("mount", "-t", kind, *mounted, pathlib.Path(disk).resolve(), where)
    if not types:
        return
    if kind == "ext4":
        run("chattr", "+P", "-p", "77", where)
    else:
        run("xfs_io", "-c", "chproj 77", "-c", "chattr +P", where)
    for name, what, who in (("usr", USER, FIRST_USER), ("grp", GROUP, FIRST_USER), ("prj", PROJECT, 77)):
        if name in types:
            set_hard(where, what, who, 1 << 40, 1 << 30)


def cost(count, rounds):
    disks = iter(f"/dev/vd{letter}" for letter in "bcdefg")
    for kind in ("ext4", "xfs"):
        for level, types in LEVELS.items():
            make_counted(kind, next(disks), top(f"{kind}-{level}"), types)
    taken = {}
    for number in range(rounds + 1):
        for kind in ("ext4", "xfs"):
            for level in list(LEVELS) if number % 2 else reversed(LEVELS):
                for step, found in one_cost(top(f"{kind}-{level}"), count).items():
                    if number:  # the first one warms up
                        taken.setdefault(f"{kind} {step}", {}).setdefault(level, []).append(found)
    say("measured " + json.dumps(taken))
    return 0


def calls(rounds):
    """Nanoseconds of each call, in turns."""
    from quotafs import GROUP, PROJECT, USER, set_hard
    run("mkfs.ext4", "-q", "-F", *JOURNALED, DISKS["ext4"])
    run("mkfs.xfs", "-q", "-f", DISKS["xfs"])
    taken = {}
    for kind in ("ext4", "xfs"):
        mount(kind)
        tree = top(kind) / "ct"
        tree.mkdir()
        if kind == "ext4":
            run("chattr", "+P", "-p", "77", tree)
        else:
            run("xfs_io", "-c", "chproj 77", "-c", "chattr +P", tree)
        set_hard(tree, PROJECT, 77, 1 << 30, 1 << 20)
        for user in range(1000):  # every third one has a quota
            for what in (USER, GROUP):
                set_hard(tree, what, FIRST_USER + 3 * user, 1 << 30, 1 << 20)
        (tree / "file").write_text("x")
        (top(kind) / "plain").write_text("x")
        run("sync")
    switches = {name: pathlib.Path("/proc/sys/fs") / name for name in ("quota/userns_admin", "protected_projects")}
    for number in range(rounds + 1):
        for kind in ("ext4", "xfs"):
            tree = top(kind) / "ct"
            for operation, path, switch, inside in (
                    ("statfs", top(kind) / "plain", None, False), ("statfs", tree / "file", None, False), ("statfs", tree, None, False),
                    ("setxattr", tree / "file", None, False), ("setxattr", tree / "file", "protected_projects", False),
                    ("getquota", tree, None, False), ("setquota", tree, None, False), ("next", tree, None, False),
                    ("getquota", tree, "quota/userns_admin", True), ("setquota", tree, "quota/userns_admin", True),
                    ("next", tree, "quota/userns_admin", True)):
                if switch and not switches[switch].exists():
                    continue
                if switch:
                    switches[switch].write_text("1")
                done = run(CALLS, "inside" if inside else "outside", operation, path, FIRST_USER).out
                if switch:
                    switches[switch].write_text("0")
                name = f"{kind} {operation} {path.name}{' inside' if inside else f' {switch}=1' if switch else ''}"
                if number:  # the first one warms up
                    taken.setdefault(name, []).append(float(done))
    say("measured " + json.dumps(taken))
    return 0


# ---- on the development machine

def boot(kernel, disks, *words, options=()):
    return subprocess.Popen([LAB / "run", "--kernel", kernel, "--no-build", "--disks", str(DISK_COUNT), "--disks-in", disks, "--memory", "1536M",
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
        for number in range(1, DISK_COUNT + 1):
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


def counted(kernel):
    return () if kernel.startswith("uml") else ("--accel", "icount", "--cpus", "1")


def cost_of(options):
    count = (options.values or ["2000"])[0]
    with disk_files(1) as disks:
        taken = follow(boot(options.kernel, disks, "cost", count, options.rounds, options=counted(options.kernel)))
    results = {}
    for key, levels in taken.items():
        results[key] = {"all": levels}
        say(f"  {key}")
        for i, what in enumerate(("elapsed", "CPU", "writes", "KiB")):
            middle = {level: statistics.median(sample[i] for sample in samples) for level, samples in levels.items()}
            line = f"    {what:8} without {middle['none']:10.4f}"
            for level in ("first", "both"):
                pairs = statistics.quantiles([100 * (b[i] / a[i] - 1) for a, b in zip(levels["none"], levels[level])], n=4)
                results[key][f"{what} {level}"] = pairs
                line += f"; {level} {pairs[1]:+.1f} % ({pairs[0]:+.1f} to {pairs[2]:+.1f})"
            results[key][what] = middle
            say(line)
    return results


def calls_of(options):
    with disk_files(1) as disks:
        taken = follow(boot(options.kernel, disks, "calls", options.rounds, options=counted(options.kernel)))
    for key, values in taken.items():
        low, middle, high = statistics.quantiles(values, n=4)
        say(f"  {key:45} {middle:9.0f} ns (half of them {low:.0f} to {high:.0f}, least {min(values):.0f})")
    return taken


def guest(words):
    build_load()
    what, rest = words[0], words[1:]
    if what == "prepare":
        return prepare(int(rest[0]))
    if what == "again":
        return write_again()
    if what == "measure":
        return measure()
    if what == "calls":
        return calls(int(rest[0]))
    return cost(int(rest[0]), int(rest[1]))


def write_again():
    """For another cut."""
    import vzhost
    for kind in kinds():
        mount(kind)
    run("quotacheck", "-ugf", "-F", "vfsv1", top("vfsv1"))
    run("quotaon", "-ug", top("vfsv1"))
    bring_vz()
    places = [top("vfsv1") / "data", *([top("btrfs") / "sub" / "data"] if "btrfs" in kinds() else [])]
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
    parser.add_argument("what", choices=("crash", "cost", "calls"))
    parser.add_argument("kernel", nargs="?", default="uml")
    parser.add_argument("values", nargs="*", metavar="COUNT")
    options = parser.parse_args()
    results = {"crash": crash, "cost": cost_of, "calls": calls_of}[options.what](options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

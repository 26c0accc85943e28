#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pull the plug: containers write at random under both kinds of quota, their machine is killed, and the next boot compares what
the quotas say with what du counts. Runs on the development machine and boots guests of tests/lab/run, which keep their disk.

Usage: powercut.py [KERNEL [FILE-SYSTEM…]]      default: uml ext4 xfs
VZ_POWERCUT_ROUNDS: power cuts for each file system (5). VZ_SEED: for the same random numbers again.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
LAB = HERE.parent
STORE = pathlib.Path("/store")
DISK = "/dev/vdb"
CONTAINERS = [101, 102, 103]
SPACE_KIB, INODES, USERS = 24 * 1024, 3000, 4
MOUNT = "usrquota,grpquota,prjquota"
BOOT_LIMIT = 300


# ---- in the guest

def prepare_host(kind):
    """vz's own directories on the disk that survives. True when there is nothing on it yet."""
    from vzhost import run
    blank = run(["blkid", DISK]).rc != 0
    if blank:
        quota = ["-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"]
        run(["mkfs.ext4", "-q", "-F", *quota, DISK] if kind == "ext4" else ["mkfs.xfs", "-q", "-f", DISK], check=0)
    STORE.mkdir(exist_ok=True)
    began = time.monotonic()
    run(["mount", "-t", kind, "-o", MOUNT, DISK, STORE], check=0)
    seconds = time.monotonic() - began
    for name, path in (("lib", "/var/lib/vz"), ("conf", "/etc/vz/conf")):
        (STORE / name).mkdir(exist_ok=True)
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", STORE / name, path], check=0)
    pathlib.Path("/etc/vz/names").mkdir(exist_ok=True)
    text = pathlib.Path("/vz/src/etc/vz.conf").read_text()
    pathlib.Path("/etc/vz/vz.conf").write_text(text + '\nTEMPLATE="/vz/template"\nLOGGING="no"\nCONFIGFILE=""\n')
    return blank, seconds


def make_containers():
    import vzhost
    from quotafs import USER, set_hard
    vzhost.run(["gcc", "-O1", "-static", "-o", "/store/scribbler", HERE / "scribbler.c"], check=0)
    for ctid in CONTAINERS:
        vzhost.vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "dir", "--ram", "64M", "--swap", "0",
                     "--diskspace", f"{SPACE_KIB}K", "--diskinodes", INODES, check=0)
        shutil.copy("/store/scribbler", private(ctid) / "scribbler")
        for user in range(1, USERS):
            set_hard(STORE, USER, base_of(ctid) + user, SPACE_KIB * 1024 // 4, INODES // 4)


def private(ctid):
    return pathlib.Path(f"/var/lib/vz/private/{ctid}/fs")


def base_of(ctid):
    for line in pathlib.Path("/var/lib/vz/idmap").read_text().splitlines():
        if line.split()[0] == str(ctid):
            return int(line.split()[1])
    raise AssertionError(f"no ids of {ctid}")


def check_container(ctid):
    """What differs between the quotas and the tree; empty when nothing does."""
    from quotafs import PROJECT, USER, disk_usage, project_of, quota
    wrong, owners = [], {}
    total, inodes = disk_usage(private(ctid), owners)
    project = project_of(private(ctid))[0]
    now = quota(STORE, PROJECT, project)
    if (now["bytes"], now["inodes"]) != (total, inodes):
        wrong.append(f"project {project}: the quota says {now['bytes']} B, {now['inodes']} inodes, du {total} B, {inodes}")
    if (now["hard"], now["hard_inodes"]) != (SPACE_KIB * 1024, INODES):
        wrong.append(f"limits of project {project}: {now}")
    for user in range(USERS):
        uid = base_of(ctid) + user
        have, counted = quota(STORE, USER, uid), owners.get(uid, [0, 0])
        if [have["bytes"], have["inodes"]] != counted:
            wrong.append(f"uid {user}: the quota says {have['bytes']} B, {have['inodes']} inodes, du {counted}")
        if user and (have["hard"], have["hard_inodes"]) != (SPACE_KIB * 1024 // 4, INODES // 4):
            wrong.append(f"limits of uid {user}: {have}")
    return wrong


def check_all(seconds):
    import vzhost
    log = vzhost.run(["dmesg"]).out
    wrong = {str(ctid): found for ctid in CONTAINERS if (found := check_container(ctid))}
    if re.search("quotacheck", log, re.I):
        wrong["quotacheck"] = re.findall("(?i).*quotacheck.*", log)
    used = sum(disk_of(ctid) for ctid in CONTAINERS)
    recovered = bool(re.search(r"recovery complete|Ending recovery|Starting recovery|orphan", log))
    print("checked " + json.dumps({"wrong": wrong, "mount_seconds": round(seconds, 2), "bytes": used, "recovered": recovered}), flush=True)
    return not wrong


def disk_of(ctid):
    from quotafs import PROJECT, project_of, quota
    return quota(STORE, PROJECT, project_of(private(ctid))[0])["bytes"]


def write_for_ever(seed):
    import vzhost
    for ctid in CONTAINERS:
        vzhost.vzctl("start", ctid, check=0)
    writers = [subprocess.Popen([vzhost.BIN / "vzctl", "exec3", str(ctid), "sh", "-c", f"mkdir -p /w; cd /w; exec /scribbler {seed + i}"],
                                stdin=subprocess.DEVNULL) for i, ctid in enumerate(CONTAINERS)]
    return max(w.wait() for w in writers)


def guest(kind, seed, last):
    sys.path.insert(0, str(LAB.parent / "support"))
    blank, seconds = prepare_host(kind)
    if blank:
        make_containers()
    good = check_all(seconds)
    if last or not good:
        subprocess.run(["umount", "-R", "-l", "/etc/vz/conf", "/var/lib/vz"], check=False)
        return 0 if good else 1
    return write_for_ever(seed)


# ---- on the development machine

def boot(kernel, kind, disks, seed, last=False):
    return subprocess.Popen([LAB / "run", "--kernel", kernel, "--no-build", "--disks", "1", "--disks-in", disks, "--memory", "768M",
                             "--env", "VZ_BUILD=/vz/build", "--env", "VZ_LAB_CACHE=/vz", "--source", LAB.parent.parent, "--",
                             "unshare", "--mount", "--propagation", "private", "python3", "/vz/src/tests/lab/tests/powercut.py", "guest", kind, str(seed), str(int(last))],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)


def pull_the_plug(run):
    """The machine is the only child of tests/lab/run; what it wrote before is on its disk, as a drive without a cache has it."""
    children = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def one_boot(kernel, kind, disks, seed, ticks):
    """Checks what the last cut left, then writes for so many ticks; 0: only checks. Returns the report, or raises."""
    run = boot(kernel, kind, disks, seed, last=ticks == 0)
    report, seen, lines = None, 0, []
    try:
        for line in run.stdout:
            if line == "tick\n":
                seen += 1
                if seen == ticks:
                    pull_the_plug(run)
                continue
            lines.append(line)
            if line.startswith("checked "):
                report = json.loads(line[len("checked "):])
    finally:
        run.stdout.close()
        status = run.wait()
    if report is None or (ticks == 0 and status != 0) or (ticks and seen < ticks and not report["wrong"]):
        raise AssertionError(f"the guest ended with status {status}, {seen} ticks:\n" + "".join(lines[-40:]))
    return report


def rounds_on(kernel, kind, rounds, randomly):
    """Power cuts one after the other on the same disk; the number of failures."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="vz-powercut-", dir=os.environ.get("VZ_TEST_DIR", "/var/tmp")))
    failed, recovered = 0, False
    try:
        for number in range(rounds + 1):
            ticks = randomly.randrange(5, 60) if number < rounds else 0
            report = one_boot(kernel, kind, directory, randomly.randrange(1 << 30), ticks)
            if number == 0:
                continue  # the first boot made the containers
            bad = bool(report["wrong"])
            failed += bad
            recovered |= report["recovered"]
            print(f"{'FAILED' if bad else 'ok'} {kernel} {kind} cut {number}: {json.dumps(report)}", flush=True)
        if not recovered:  # then nothing was in the journal, and nothing proven
            raise AssertionError("no cut left anything for the journal to replay")
    except AssertionError as error:
        print(f"FAILED {kernel} {kind}: {error}", flush=True)
        failed += 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return failed


def main():
    if sys.argv[1:2] == ["guest"]:
        return guest(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
    if os.geteuid() != 0:
        print("skipped: the lab needs root\n0 passed, 0 failed, 1 skipped")
        return 77
    kernel, *kinds = sys.argv[1:] or ["uml"]
    if subprocess.run([LAB / "build", "--product"], stdout=subprocess.DEVNULL, check=False).returncode != 0:
        print("FAILED: the project does not build in the lab\n0 passed, 1 failed, 0 skipped")
        return 1
    rounds = int(os.environ.get("VZ_POWERCUT_ROUNDS", "5"))
    seed = int(os.environ.get("VZ_SEED") or random.randrange(1 << 30))
    print(f"VZ_SEED={seed}", flush=True)
    randomly = random.Random(seed)
    failed = passed = 0
    for kind in kinds or ["ext4", "xfs"]:
        bad = rounds_on(kernel, kind, rounds, randomly)
        failed += bad
        passed += rounds - min(bad, rounds)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

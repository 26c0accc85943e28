#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pull the plug: containers of both layouts write at random under both levels of quota, their machine is killed, and the next
boot compares what the quotas say with what du counts. An image is mounted as vzctl does it, which replays its own journal
from a file that the host's file system has just recovered. Runs on the development machine and boots guests of tests/lab/run, which keep their disk.

Usage: powercut.py [KERNEL [FILE-SYSTEM…]]      default: uml ext4 xfs
VZ_POWERCUT_ROUNDS: power cuts for each file system (5). VZ_SEED: for the same random numbers again.
"""
import contextlib
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
DIRS, IMAGES = [101, 102, 103], [201, 202]
SPACE_KIB, INODES, USERS = 24 * 1024, 3000, 4
IMAGE_KIB, IMAGE_INODES = 32 * 1024, 2048
SIZES = STORE / "sizes"  # of the images' file systems, as they were made
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
    common = ["--ostemplate", vzhost.busybox_template(), "--ram", "64M", "--swap", "0"]
    for ctid in DIRS:
        vzhost.vzctl("create", ctid, *common, "--layout", "dir", "--diskspace", f"{SPACE_KIB}K", "--diskinodes", INODES, check=0)
        shutil.copy("/store/scribbler", private(ctid) / "scribbler")
        for user in range(1, USERS):
            set_hard(STORE, USER, base_of(ctid) + user, SPACE_KIB * 1024 // 4, INODES // 4)
    sizes = {}
    for ctid in IMAGES:
        vzhost.vzctl("create", ctid, *common, "--layout", "image", "--diskspace", f"{IMAGE_KIB}K", "--diskinodes", IMAGE_INODES,
                     "--quotaugidlimit", "10", check=0)
        with mounted(ctid) as root:
            shutil.copy("/store/scribbler", root / "scribbler")
            for user in range(1, USERS):
                set_hard(root, USER, user, IMAGE_KIB * 1024 // 4, IMAGE_INODES // 4)
            sizes[str(ctid)] = size_of(root)
    SIZES.write_text(json.dumps(sizes))
    os.sync()


@contextlib.contextmanager
def mounted(ctid):
    from vzhost import vzctl
    vzctl("mount", ctid, check=0)
    try:
        yield pathlib.Path(f"/var/lib/vz/root/{ctid}")
    finally:
        vzctl("umount", ctid, check=0)


def size_of(root):
    found = os.statvfs(root)
    return [found.f_blocks, found.f_files]


def private(ctid):
    return pathlib.Path(f"/var/lib/vz/private/{ctid}/fs")


def base_of(ctid):
    for line in pathlib.Path("/var/lib/vz/idmap").read_text().splitlines():
        if line.split()[0] == str(ctid):
            return int(line.split()[1])
    raise AssertionError(f"no ids of {ctid}")


def check_users(where, first, base, owners, space, inodes):
    """Each user's quota, at the id `first` + user there, against what his files are, which belong to `base` + user."""
    from quotafs import USER, quota
    wrong = []
    for user in range(USERS):
        have, counted = quota(where, USER, first + user), owners.get(base + user, [0, 0])
        if [have["bytes"], have["inodes"]] != counted:
            wrong.append(f"uid {user}: the quota says {have['bytes']} B, {have['inodes']} inodes, du {counted}")
        if user and (have["hard"], have["hard_inodes"]) != (space, inodes):
            wrong.append(f"limits of uid {user}: {have}")
    return wrong


def check_dir(ctid):
    """What differs between the quotas and the tree; empty when nothing does. And the bytes in it."""
    from quotafs import PROJECT, disk_usage, project_of, quota
    wrong, owners = [], {}
    total, inodes = disk_usage(private(ctid), owners)
    project = project_of(private(ctid))[0]
    now = quota(STORE, PROJECT, project)
    if (now["bytes"], now["inodes"]) != (total, inodes):
        wrong.append(f"project {project}: the quota says {now['bytes']} B, {now['inodes']} inodes, du {total} B, {inodes}")
    if (now["hard"], now["hard_inodes"]) != (SPACE_KIB * 1024, INODES):
        wrong.append(f"limits of project {project}: {now}")
    base = base_of(ctid)
    return wrong + check_users(STORE, base, base, owners, SPACE_KIB * 1024 // 4, INODES // 4), total


def check_image(ctid):
    """The same of an image: its first level is its size, and it has its users' quotas in itself."""
    from quotafs import disk_usage
    from vzhost import run
    owners = {}
    with mounted(ctid) as root:
        total, _ = disk_usage(root, owners)
        wrong = check_users(root, 0, os.stat(root).st_uid, owners, IMAGE_KIB * 1024 // 4, IMAGE_INODES // 4)
        if size_of(root) != json.loads(SIZES.read_text())[str(ctid)]:
            wrong.append(f"its size: {size_of(root)}")
    # another opinion on the same: it adds up all quotas, too
    done = run(["e2fsck", "-fn", f"/var/lib/vz/private/{ctid}/root.img"])
    return wrong + ([done.out] if done.rc else []), total


def check_all(seconds):
    import vzhost
    wrong, used = {}, 0
    for ctid in DIRS + IMAGES:
        found, total = check_dir(ctid) if ctid in DIRS else check_image(ctid)
        used += total
        if found:
            wrong[str(ctid)] = found
    log = vzhost.run(["dmesg"]).out
    if re.search("quotacheck", log, re.I):
        wrong["quotacheck"] = re.findall("(?i).*quotacheck.*", log)
    report = {"wrong": wrong, "mount_seconds": round(seconds, 2), "bytes": used,
              "recovered": bool(re.search(r"\((?!loop)[^)]*\): (recovery complete|Ending recovery|Starting recovery)", log)),
              "images_recovered": len(re.findall(r"\(loop\d+\): recovery complete", log))}
    print("checked " + json.dumps(report), flush=True)
    return not wrong


def write_for_ever(seed):
    import vzhost
    for ctid in DIRS + IMAGES:
        vzhost.vzctl("start", ctid, check=0)
    writers = [subprocess.Popen([vzhost.BIN / "vzctl", "exec3", str(ctid), "sh", "-c", f"mkdir -p /w; cd /w; exec /scribbler {seed + i}"],
                                stdin=subprocess.DEVNULL) for i, ctid in enumerate(DIRS + IMAGES)]
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
    failed, recovered = 0, {"recovered": 0, "images_recovered": 0}
    try:
        for number in range(rounds + 1):
            ticks = randomly.randrange(5, 60) if number < rounds else 0
            report = one_boot(kernel, kind, directory, randomly.randrange(1 << 30), ticks)
            if number == 0:
                continue  # the first boot made the containers
            bad = bool(report["wrong"])
            failed += bad
            for key in recovered:
                recovered[key] += report[key]
            print(f"{'FAILED' if bad else 'ok'} {kernel} {kind} cut {number}: {json.dumps(report)}", flush=True)
        if not all(recovered.values()):  # then nothing was in the journal, and nothing proven
            raise AssertionError(f"no cut left anything for a journal to replay: {recovered}")
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

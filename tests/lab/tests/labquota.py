# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers with Debian's quota package, for the tests of quotas inside: a Debian, or a busybox that starts in a second."""
import json
import os
import pathlib
import shutil

import labguest
import vzhost
from vzhost import run, vzctl

TOOLS = ("quota", "setquota", "edquota", "repquota", "warnquota", "quotaon", "quotaoff")
CALLER = pathlib.Path("/var/tmp/quota_caller")
LIB = pathlib.Path("/var/lib/vz")
DISK = pathlib.Path("/dev/vdb")
LOADER = "/lib64/ld-linux-x86-64.so.2"
FULL = "Disk quota exceeded"
EXT4 = ["mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota"]
XFS = ["mkfs.xfs", "-q", "-f"]


def install():
    labguest.install()
    run(["gcc", "-O1", "-Wall", "-static", "-pthread", vzhost.SOURCE / "tests/support/quota_caller.c", "-o", CALLER], check=0)


def mount_private(case, make):
    """The private areas on a file system with all kinds of quota, until the end of the test class."""
    if not DISK.exists():
        raise vzhost.unittest.SkipTest("needs --disks 1")
    disk, private = DISK.resolve(), LIB / "private"  # of user-mode Linux it is a link
    private.mkdir(parents=True, exist_ok=True)
    run([*make, disk], check=0)
    run(["mount", "-o", "usrquota,grpquota,prjquota", disk, private], check=0)
    case.addClassCleanup(run, ["umount", "-l", private])


def start_vzd():
    """The built one, where systemd has the service."""
    if labguest.SYSTEMD:
        run(["systemctl", "restart", "vzd.service"], check=0)


def end_vzd():
    if labguest.SYSTEMD:
        run(["systemctl", "stop", "vzd.service"])
    else:
        vzhost.stop_vzd()


def libraries(program):
    """Files that the dynamic loader takes for a program."""
    return {line.split("=>")[1].split()[0] for line in run(["ldd", program]).out.splitlines() if "=> /" in line}


class Case(vzhost.HostTest):
    def make_debian(self, users=("alice", "bob")):
        """A Debian with systemd in an image. No database of its packages knows that it has these files."""
        ctid = self.create("--quotaugidlimit", "100", template=vzhost.DEBIAN, diskspace="512M")
        self.put_tools(ctid)
        vzctl("start", ctid, "--wait", check=0)
        for user in users:
            self.inside(ctid, f"useradd -m {user}")
        return ctid

    def make(self, layout="image", start=True):
        """A busybox with alice and bob."""
        ctid = self.create("--quotaugidlimit", "100", "--layout", layout, "--diskinodes", "10000", diskspace="64M")
        self.put_tools(ctid)
        if start:
            self.start_with_users(ctid)
        return ctid

    def start_with_users(self, ctid):
        vzctl("start", ctid, check=0)
        for uid, user in enumerate(("alice", "bob"), 1000):
            self.inside(ctid, f"grep -q ^{user}: /etc/passwd || {{ echo {user}:x:{uid}:{uid}::/home/{user}:/bin/sh >> /etc/passwd; "
                              f"echo {user}:x:{uid}: >> /etc/group; mkdir -p /home/{user}; chown {uid}:{uid} /home/{user}; }}")

    def put_tools(self, ctid):
        vzctl("mount", ctid, check=0)
        root = LIB / "root" / str(ctid)
        base = os.stat(root).st_uid
        programs = [pathlib.Path(shutil.which(tool)) for tool in TOOLS]
        for library in {LOADER}.union(*map(libraries, programs)):
            if not (root / library.lstrip("/")).exists():
                self.put(pathlib.Path(library).resolve(), root, base, name=library)
        for file in (*programs, *map(pathlib.Path, ("/etc/warnquota.conf", "/etc/quotatab"))):
            self.put(file, root, base)
        self.put(CALLER, root, base, name="/usr/bin/quota_caller")
        vzctl("umount", ctid, check=0)

    @staticmethod
    def put(source, root, base, name=None):
        target = root / (name or str(source)).lstrip("/")
        # /lib and /bin are links inside
        target = root / os.path.relpath(target.parent.resolve(), root) / target.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        os.chown(target, base, base)

    def assert_limits_bite(self, ctid):
        """What root inside sets for alice and bob, as Debian's tools do it and as they show it."""
        self.inside(ctid, "setquota -u alice 1024 2048 0 30 /; setquota -g bob 0 4096 0 0 /")
        self.assertIn(FULL, self.write(ctid, "alice", "/home/alice/big", 4).out)
        self.assertLessEqual(int(self.inside(ctid, "du -k /home/alice/big").split()[0]), 2048)
        self.inside(ctid, "rm /home/alice/big")
        # XFS gives up the inode in the background; counted until then, it would be one of the thirty, and not one afterwards.
        vzhost.wait_for(lambda: self.entry(ctid, "user", "alice")["space"] < 1 << 20, what="the removed file to be counted no more")
        many = self.inside(ctid, "su alice -c 'cd; for i in $(seq 40); do : > f$i || break; done' 2>&1", check=None)
        self.assertIn(FULL, many)
        self.assertIn(FULL, self.write(ctid, "bob", "/home/bob/big", 6).out)
        table = self.inside(ctid, "repquota -a")
        self.assertRegex(table, r"(?m)^alice +\S+ +\d+ +1024 +2048 .* 30")
        self.assertNotRegex(table, r"(?m)^#", "an id of the host or of a neighbour")
        self.assertRegex(self.inside(ctid, "su alice -c 'quota -v'", check=1), r"1024 +2048 .* 30")  # 1: there is a limit that is met

    def special(self, ctid):
        return self.inside(ctid, "awk '$2 == \"/\" {print $1}' /proc/self/mounts").split()[-1]

    def caller(self, ctid, *args, check=0, user=None):
        command = f"quota_caller {' '.join(map(str, args))}"
        return self.inside(ctid, f"su {user} -c '{command}'" if user else command, check=check).strip()

    def quota(self, ctid, *args, **kw):
        return vzctl("quota", ctid, *args, **kw)

    def entry(self, ctid, kind, name):
        report = json.loads(self.quota(ctid, "report", "--json", check=0).out)
        return next((q for q in report[kind]["quotas"] if q["name"] == name), None)

    def write(self, ctid, user, path, mib):
        return run([vzhost.BIN / "vzctl", "exec2", ctid, f"su {user} -c 'dd if=/dev/zero of={path} bs=1M count={mib}' 2>&1"])

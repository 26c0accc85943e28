# SPDX-License-Identifier: GPL-2.0-or-later
"""A second host on this machine: namespaces of its own with vz's paths and a subtree of its own in every hierarchy of
control groups, reached by nsenter where another host is by ssh."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import vzhost
from vzhost import run

VZCTL = vzhost.BIN / "vzctl"


def hierarchies():
    """Mount points of control groups, outermost first."""
    lines = (line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines())
    return sorted(pathlib.Path(where) for _, where, kind, *_ in lines if kind in ("cgroup", "cgroup2"))


def large_pipes(test):
    """What vzctl needs to send memory ahead where root lacks CAP_SYS_RESOURCE."""
    sysctl = pathlib.Path("/proc/sys/fs/pipe-max-size")
    before = sysctl.read_text()
    if int(before) < 4 << 20:
        test.addCleanup(sysctl.write_text, before)
        sysctl.write_text(str(4 << 20))


class Node:
    def __init__(self, test, name="b"):
        self.name = name
        self.work = pathlib.Path(tempfile.mkdtemp(prefix=f"vz-node-{name}-", dir=os.environ.get("VZ_TEST_DIR", "/var/tmp")))
        (self.work / "lib").mkdir()
        self.groups = [top / f"vz-node-{name}-{os.getpid()}-{id(self) & 0xffffff}" for top in hierarchies()]
        for group in self.groups:
            group.mkdir(exist_ok=True)
            if (group / "cgroup.controllers").exists():
                (group / "host").mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # of cgroup v1: empty until somebody says
                if (group / setting).exists() and "cpuset" in group.parent.name:
                    (group / setting).write_text((group.parent / setting).read_text())
        binds = " ".join(f"mount --bind {group} {group.parent};" for group in self.groups)
        # In a namespace of control groups: CRIU mounts the hierarchies anew, and must see this subtree as all there is.
        # What has processes of its own hands no controllers on (cgroup v2).
        settle = self.enter_groups(group / "host" if (group / "host").exists() else group for group in self.groups)
        self.holder = subprocess.Popen(
            ["sh", "-c", f'{self.enter_groups(self.groups)} exec "$@"', "sh", "unshare", "--cgroup", "--mount", "--net", "--uts", "--propagation", "private",
             "--", "sh", "-ec",
             f"{settle} hostname {name}; {binds} mount --bind {self.work}/lib /var/lib/vz; "
             "for d in /etc/vz /run/vz; do cp -a $d /tmp/vz-node.$$; mount -t tmpfs -o mode=0755 vz-node $d; "
             "[ $d = /run/vz ] || cp -a /tmp/vz-node.$$/. $d; rm -rf /tmp/vz-node.$$; done; "
             "rm -f /etc/vz/conf/[0-9]*.conf /etc/vz/names/*; ip link set lo up; "
             # This machine's systemd is not this host's: it has the other one's scopes.
             "[ ! -d /run/systemd/system ] || mount -t tmpfs -o mode=0755 vz-node /run/systemd; echo ready; exec sleep infinity"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        test.addCleanup(self.end)
        if self.holder.stdout.readline() != b"ready\n":
            raise AssertionError("the second node did not come up")
        for group in self.groups:
            self.hand_on_controllers(group)

        self.script = self.executable("enter", f'{settle}\nexec nsenter -t {self.holder.pid} -m -n -u -C -- "$@"')
        leave = self.enter_groups(hierarchies())
        inner = self.executable("leave", f'{leave}\nexec "$@"')
        self.outside = self.executable("outside", f'exec nsenter -t {os.getpid()} -m -n -u -C -- {inner} "$@"')

    @staticmethod
    def enter_groups(groups):
        return " ".join(f"echo $$ >{group}/cgroup.procs;" for group in groups)

    @staticmethod
    def hand_on_controllers(group):
        """cgroup v2: all that this host has, to the node's own groups."""
        if not (group / "host").exists():
            return
        for above in (group.parent, group):
            for controller in (above / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):  # one that this host keeps for itself
                    (above / "cgroup.subtree_control").write_text(f"+{controller}")

    def executable(self, name, text):
        path = self.work / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def enter(self):
        return [str(self.script)]

    def transport(self, **environment):
        """For --transport: the agent's command, with variables of its own (VZ_FAULT)."""
        variables = [f"{k}={v}" for k, v in environment.items()]
        return " ".join([*self.enter(), "env", "-u", "VZ_FAULT", "-u", "VZ_FAULT_STOP", "-u", "VZ_FAULT_TRACE",
                         *variables, str(VZCTL), "agent"])

    def back(self):
        """The other way: for --transport on this node."""
        return f"{self.outside} {VZCTL} agent"

    def vzctl(self, *args, **kw):
        return run([*self.enter(), VZCTL, *args], **kw)

    def path(self, path):
        return pathlib.Path(f"/proc/{self.holder.pid}/root{path}")

    def wipe(self, ctid):
        for command in (["stop", ctid, "--fast"], ["migrate", ctid, "--resolve", "--drop"], ["destroy", ctid]):
            self.vzctl(*command)

    def end(self):
        pid = self.path("/run/vz/vzd.pid")
        if pid.exists():
            try:
                os.kill(int(pid.read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                pass
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        shutil.rmtree(self.work, ignore_errors=True)
        for group in self.groups:  # what a test that failed left running
            if (group / "cgroup.kill").exists():
                (group / "cgroup.kill").write_text("1")
                vzhost.wait_for(lambda g=group: "populated 0" in (g / "cgroup.events").read_text(), what="the node's end")
        for group in self.groups:
            run(["find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two machines, each with its own kernel, and ssh between them: containers move there and back with their memory and with
a client that stays connected; what ssh refuses is said, and so is what to do.

For tests/lab/run --nodes 2. The client is a network namespace of node1, beside it on a bridge.
"""
import os
import pathlib
import shlex
import unittest

import labguest
import segment
import vzhost
from vzhost import run, vzctl, wait_for

OTHER = "node2"
ADDRESS = "10.98.0.60"
NOBODY = "10.98.0.77"
PROGRAM = """i=0
s=$(head -c 300000 /dev/urandom | md5sum)
while :; do
	i=$((i+1))
	echo $$ $i $s >/dev/shm/now
	echo $i >>/log
	sleep 0.05
done
"""
INSTALL = "cd /vz/src/tests/lab/tests && VZ_LAB_CACHE=/vz VZ_BUILD=/vz/build python3 -B -c 'import labguest; labguest.install()'"
client = None


class Client:
    """A namespace on a bridge with node1's card."""

    def __init__(self):
        self.cleanups = []
        self.holder = segment.Holder(self)
        card = next(d.name for d in pathlib.Path("/sys/class/net").iterdir() if (d / "device").exists())
        for command in ("link add br0 type bridge", f"link set {card} master br0", f"addr flush dev {card}", "link set br0 up",
                        "addr add 10.98.0.1/24 dev br0", f"link add port9 type veth peer name up0 netns {self.holder.pid}",
                        "link set port9 master br0 up"):
            run(["ip", *command.split()], check=0)
        segment.Segment.ip(self.holder.pid, "addr add 10.98.0.9/24 dev up0", "link set up0 up")

    def addCleanup(self, function):
        self.cleanups.append(function)

    def end(self):
        for function in self.cleanups:
            function()


def there(command, **kw):
    """A shell command on the other machine."""
    return run(["ssh", OTHER, command], **kw)


def vzctl_there(*args, **kw):
    return there(shlex.join(["vzctl", *map(str, args)]), **kw)


def setUpModule():
    global client
    if os.environ.get("VZ_LAB_NODES", "1") == "1":
        raise unittest.SkipTest("needs --nodes 2")
    labguest.install()
    there(INSTALL, check=0)
    for call in (run, lambda argv, **kw: there(shlex.join(argv), **kw)):
        call(["sysctl", "-qw", "net.ipv4.ip_forward=1"], check=0)
    vzhost.busybox_template()
    client = Client()


def tearDownModule():
    if client:
        client.end()


class TwoNodes(vzhost.HostTest):
    def make(self, *options, **kw):
        ctid = self.create(*options, **kw)
        self.addCleanup(there, f"vzctl stop {ctid} --fast; vzctl migrate {ctid} --resolve --drop; vzctl destroy {ctid}")
        return ctid

    def assertOnly(self, call, ctid):
        """It runs on that machine, and nothing of it on the other one."""
        other = vzctl_there if call is vzctl else vzctl
        self.assertEqual(call("status", ctid, check=0).out.split()[2:], ["exist", "mounted", "running"])
        self.assertEqual(other("status", ctid, check=0).out.split()[2], "deleted")
        groups = f"cat /sys/fs/cgroup/vz.slice/vz-{ctid}.scope/cgroup.events"
        left = run(groups.split()) if other is vzctl else there(groups)
        self.assertNotIn("populated 1", left.out, "its processes still run")


class Live(TwoNodes):
    """With memory and a client that talks to it all the time."""

    @staticmethod
    def look(call, ctid):
        words = call("exec2", ctid, "cat /dev/shm/now").out.split()
        return words if len(words) >= 3 else None

    def goes_on(self, call, ctid, before):
        after = wait_for(lambda: self.look(call, ctid), what="the program, after the move")
        self.assertEqual((after[0], after[2]), (before[0], before[2]), "another process")
        wait_for(lambda: int((self.look(call, ctid) or after)[1]) > int(after[1]), what="that it goes on")
        log = [int(n) for n in call("exec2", ctid, "cat /log", check=0).out.split()]
        self.assertEqual(log, list(range(1, log[-1] + 1)), "a step is missing, or was done twice")

    def there_and_back(self, ctid):
        program = wait_for(lambda: self.look(vzctl, ctid), what="the program")
        talker = segment.Talker(client.holder.pid, ADDRESS, 7000)
        self.addCleanup(talker.end)
        for call, there_call, target in ((vzctl, vzctl_there, OTHER), (vzctl_there, vzctl, "node1")):
            seen, talker.longest = talker.look(), 0.0
            report = call("migrate", ctid, target, "--live", "--json", check=0, timeout=600).json()
            self.assertEqual((report["mode"], report["started"]), ("live", True), report)
            self.assertGreaterEqual(report["packets_kept"], 1, "the client's packets went elsewhere")
            wait_for(lambda n=seen: talker.look() > n + 20, what="answers")
            print(f"# to {target}: stopped for {report['down_milliseconds']} ms, client waited {talker.longest * 1000:.0f} ms, "
                  f"{report['bytes_sent'] >> 20} MiB in {report['total_milliseconds']} ms", flush=True)
            self.assertOnly(there_call, ctid)
            self.goes_on(there_call, ctid, program)

    def test_one_program(self):
        ctid = self.make("--ram", "64M", "--swap", "0", "--ipadd", ADDRESS)
        vzctl("start", ctid, check=0)
        vzctl("exec", ctid, "cat >/program", stdin=PROGRAM, check=0)
        self.inside(ctid, "mkdir -p /dev/shm; sh /program >/dev/null 2>&1 </dev/null &")
        self.inside(ctid, "nc -ll -p 7000 -e cat >/dev/null 2>&1 </dev/null &")
        wait_for(lambda: ":1B58" in self.inside(ctid, "cat /proc/net/tcp /proc/net/tcp6"), what="the server")
        self.there_and_back(ctid)

    def test_debian_with_systemd(self):
        ctid = self.make("--ram", "256M", "--ipadd", ADDRESS, template=vzhost.debian_template(), diskspace="1G")
        vzctl("start", ctid, "--wait", check=0, timeout=400)
        vzctl("exec", ctid, "cat >/root/program", stdin=PROGRAM, check=0)
        vzctl("exec", ctid, "cat >/root/echo.pl", stdin=segment.ECHO_SERVER, check=0)
        self.inside(ctid, "systemd-run --quiet --unit=program sh /root/program")
        self.inside(ctid, "systemd-run --quiet --unit=echo perl /root/echo.pl")
        wait_for(lambda: ":1B58" in self.inside(ctid, "cat /proc/net/tcp"), what="the server")
        self.there_and_back(ctid)
        self.inside(ctid, "systemctl restart systemd-journald && systemd-run --wait --quiet true", timeout=120)
        self.assertEqual(self.inside(ctid, "systemctl --failed --no-legend --plain"), "")


class Ssh(TwoNodes):
    """What it refuses leaves the container here, and the message says why and what to do."""

    def setUp(self):
        self.ctid = self.make("--ram", "64M", "--swap", "0")
        vzctl("start", self.ctid, check=0)

    def refused(self, *words, host=OTHER, ssh=None, rc=173):
        result = vzctl("migrate", self.ctid, host, *(("--ssh", ssh) if ssh else ()))
        self.assertRc(result, rc)
        for word in words:
            self.assertIn(word, result.err)
        self.assertEqual(self.status(self.ctid), ["exist", "mounted", "running"])

    def test_key_of_the_host(self):
        known = vzhost.run(["mktemp"], check=0).out.strip()
        ssh = f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={known} -o LogLevel=INFO"
        self.refused("Host key verification failed", "known here", f"`ssh {OTHER}` once", ssh=ssh)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{known}.key"], check=0)
        other_key = pathlib.Path(f"{known}.key.pub").read_text().split()
        pathlib.Path(known).write_text(f"{OTHER} {' '.join(other_key[:2])}\n")
        self.refused("Host key verification failed", "ssh-keygen -R", ssh=ssh)

    def test_a_password_is_wanted(self):
        self.refused("Permission denied", "not allowed to ask", "ssh-copy-id", ssh="-o PubkeyAuthentication=no")

    def test_nobody_answers(self):
        self.refused("cannot reach", NOBODY, host=NOBODY)
        self.refused("cannot reach", "no-such-host", host="no-such-host.invalid")
        self.refused("Connection refused", "cannot reach", ssh="-p 9")

    def test_no_vz_there(self):
        there("mv /usr/local/sbin/vzctl /root/vzctl.away", check=0)
        try:
            self.refused("not found", f"install vz on {OTHER}")
        finally:
            there("mv /root/vzctl.away /usr/local/sbin/vzctl", check=0)

    def test_a_talkative_login(self):
        there("echo 'echo Welcome to this machine' >/root/.bashrc", check=0)
        try:
            self.refused("does not speak", "login script", rc=21)
        finally:
            there("rm /root/.bashrc", check=0)


if __name__ == "__main__":
    labguest.main(private=False)

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian with nginx, PostgreSQL, redis and a timer of systemd moves to another node and back, again and again, while
clients use all of them: nothing is lost, nothing is done twice, no client sees an error.

VZ_TEST_ROUNDS: there and back so many times (1)."""
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import segment
import servers
import vzhost
from node import Node, large_pipes
from vzhost import vzctl

ADDRESS = segment.PREFIX + "70"
CLIENTS = pathlib.Path(servers.__file__).with_name("clients.py")
CONNECTIONS = 2000
TIMER = """
cat >/etc/systemd/system/tick.service <<END
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo tick >>/root/ticks'
END
cat >/etc/systemd/system/tick.timer <<END
[Timer]
OnActiveSec=1
OnUnitActiveSec=1
AccuracySec=100ms
END
systemctl daemon-reload
systemctl start tick.timer
"""


class Client:
    """One of tests/support/clients.py in the client's namespace: counts what it did, and stops at the first error."""

    def __init__(self, test, pid, kind, *arguments):
        self.kind = kind
        self.process = subprocess.Popen(["nsenter", "-t", str(pid), "-n", sys.executable, CLIENTS, kind, ADDRESS, *map(str, arguments)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        test.addCleanup(self.kill)
        self.longest = 0.0
        self.read("connected")

    def read(self, word):
        words = self.process.stdout.readline().split()
        if not words or words[0] != word:
            raise AssertionError(f"{self.kind}: {' '.join(words) or 'ended'}")
        return words[1:]

    def look(self):
        """What it has done so far."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        done, longest = self.read("done")
        self.longest = max(self.longest, float(longest))
        return int(done)

    def finish(self):
        """It ends in order, and what the server has is what the client was told."""
        self.process.stdin.close()
        self.read("good")
        return self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if not stream.closed:
                stream.close()


class Workloads(vzhost.HostTest):
    def setUp(self):
        vzhost.need("criu")
        large_pipes(self)
        self.b = Node(self)
        self.segment = segment.Segment(self)
        self.segment.plug(os.getpid(), 1)
        self.addCleanup(vzhost.run, ["ip", "link", "del", "up0"])
        self.segment.plug(self.b.holder.pid, 2)

    def serve(self):
        ctid = self.create("--ram", "2G", "--swap", "0", "--ipadd", ADDRESS, template=servers.template(), diskspace="3G")
        self.addCleanup(self.b.wipe, ctid)
        vzctl("start", ctid, "--wait", check=0, timeout=300)
        self.inside(ctid, "cat >/root/set-up.sh", stdin=servers.SET_UP)
        self.inside(ctid, "sh -e /root/set-up.sh", timeout=300)
        self.inside(ctid, "sh -e", stdin=TIMER)
        return ctid

    def test_every_service(self):
        """What Debian's packages start, a user's session and a terminal: suspended, resumed, and all of them restarted afterwards."""
        ctid = self.create("--ram", "2G", "--swap", "0", template=servers.template(), diskspace="3G")
        vzctl("start", ctid, "--wait", check=0, timeout=400)
        self.inside(ctid, "sh -e", stdin=servers.PROGRAMS, timeout=120)
        running = "systemctl list-units --type=service --state=running --no-legend --plain | cut -d' ' -f1"
        vzhost.wait_for(lambda: "pts/" in vzctl("exec2", ctid, "cat /root/terminal").out, what="the session on a terminal")
        session = "ps -eo tty,args | grep '^pts.*[s]leep 10000'"
        before, terminal = self.inside(ctid, running).split(), self.inside(ctid, session)
        self.assertGreater(len(before), 15, before)
        self.assertEqual(vzctl("check", ctid, check=0).out.strip(), "Nothing in it keeps this container from being saved.")
        vzctl("suspend", ctid, check=0, timeout=300)
        vzctl("resume", ctid, check=0, timeout=300)
        self.assertEqual(set(before) - set(self.inside(ctid, running).split()), set())
        self.assertEqual(self.inside(ctid, session), terminal)
        for unit in before:
            if unit not in servers.TRANSIENT:
                with self.subTest(unit=unit):
                    self.inside(ctid, f"systemctl restart {unit}", timeout=120)

    def clients(self):
        pid = self.segment.client.pid
        return [Client(self, pid, "http", 80, 20), Client(self, pid, "redis", 6379), Client(self, pid, "echo", 6379, CONNECTIONS),
                Client(self, pid, "postgres", 5432, 4)]

    def ticks(self, call, ctid):
        return len(call("exec2", ctid, "cat /root/ticks").out.split())

    def goes_on(self, call, ctid, clients, ticks):
        for client in clients:
            before = client.look()
            vzhost.wait_for(lambda c=client, n=before: c.look() > n + 10, timeout=60, what=f"answers to {client.kind}")
        vzhost.wait_for(lambda: self.ticks(call, ctid) > ticks, what="the timer")

    def units_work(self, call, ctid):
        """systemd itself has survived: it restarts what it watches, and is not busy."""
        cpu = "cut -d' ' -f14,15 /proc/1/stat"
        before = [int(n) for n in call("exec2", ctid, cpu, check=0).out.split()]
        time.sleep(4)
        after = [int(n) for n in call("exec2", ctid, cpu, check=0).out.split()]
        self.assertLess(sum(after) - sum(before), 0.05 * 4 * os.sysconf("SC_CLK_TCK"), "PID 1 is busy")
        for unit in ("nginx", "redis-server", "postgresql@*", "systemd-journald"):
            call("exec2", ctid, f"systemctl restart '{unit}'", check=0, timeout=120)
        self.assertEqual(call("exec2", ctid, "systemctl is-active nginx redis-server systemd-journald", check=0).out.split(), ["active"] * 3)

    def test_clients_notice_nothing(self):
        ctid = self.serve()
        clients = self.clients()
        call, other, there = vzctl, self.b.vzctl, ["b", "--transport", self.b.transport()]
        back = ["a", "--transport", self.b.back()]
        for i in range(2 * int(os.environ.get("VZ_TEST_ROUNDS", "1"))):
            lazy = ["--lazy"] if i % 4 in (1, 2) else []
            ticks = self.ticks(call, ctid)
            for client in clients:
                client.longest = 0.0
            report = call("migrate", ctid, *there, "--live", *lazy, "--json", check=0, timeout=300).json()
            call, other, there, back = other, call, back, there
            self.assertEqual((report["mode"], report["started"]), ("live", True))
            self.goes_on(call, ctid, clients, ticks)
            waits = ", ".join(f"{c.kind} {c.longest * 1000:.0f}" for c in clients)
            print(f"# stopped for {report['down_milliseconds']} ms, {report['lazy_bytes'] >> 20} MiB late; the longest waits: {waits} ms", flush=True)
        for client in clients:
            self.assertEqual(client.finish(), 0, client.kind)
        self.units_work(call, ctid)


if __name__ == "__main__":
    vzhost.main()

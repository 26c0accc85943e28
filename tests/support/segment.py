# SPDX-License-Identifier: GPL-2.0-or-later
"""A network segment of this machine: a bridge in a namespace of its own, the hosts that are plugged into it, and a client
that talks to a container and notices every pause."""
import subprocess
import sys

from vzhost import run

PREFIX = "198.18.40."
# For a container with perl: what a Talker talks to.
ECHO_SERVER = r"""
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 7000, Listen => 5, ReuseAddr => 1) or die;
while (my $client = $server->accept) { while (my $line = <$client>) { print $client $line; $client->flush } }
"""


class Holder:
    """A network namespace."""

    def __init__(self, test):
        self.process = subprocess.Popen(["unshare", "--net", "--", "sh", "-c", "ip link set lo up; echo ready; exec sleep infinity"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        test.addCleanup(self.end)
        if self.process.stdout.readline() != b"ready\n":
            raise AssertionError("no network namespace")

    @property
    def pid(self):
        return self.process.pid

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Segment:
    def __init__(self, test):
        self.switch = Holder(test)
        self.client = Holder(test)
        self.ip(self.switch.pid, "link add br0 type bridge", "link set br0 up")
        self.plug(self.client.pid, 9)

    @staticmethod
    def ip(pid, *commands):
        for command in commands:
            run(["nsenter", "-t", str(pid), "-n", "ip", *command.split()], check=0)

    def plug(self, pid, number):
        """Gives the namespace of `pid` a card with the address PREFIX + number, and makes it a router."""
        port = f"port{number}"
        self.ip(self.switch.pid, f"link add {port} type veth peer name up0 netns {pid}", f"link set {port} master br0 up")
        self.ip(pid, f"addr add {PREFIX}{number}/24 dev up0", "link set up0 up")
        run(["nsenter", "-t", str(pid), "-n", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], check=0)

    def unplug(self, number):
        self.ip(self.switch.pid, f"link del port{number}")

    def talker(self, address, port=7000):
        return Talker(self.client.pid, address, port)


class Talker:
    """A TCP connection to an echo server, one line at a time: what comes back must be what was sent."""
    PROGRAM = r"""
import select, socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
f = s.makefile("rb")
n, last, longest = 0, time.monotonic(), 0.0
print("connected", flush=True)
while True:
    began = time.monotonic()
    s.sendall(b"%d\n" % n)
    line = f.readline()
    longest = max(longest, time.monotonic() - began)
    if line != b"%d\n" % n:
        print("wrong", n, line, flush=True)
        sys.exit(1)
    n += 1
    if select.select([sys.stdin], [], [], 0.002)[0]:
        if not sys.stdin.readline():
            break
        print(n, longest, flush=True)
        longest = 0.0
"""

    def __init__(self, pid, address, port):
        self.process = subprocess.Popen(["nsenter", "-t", str(pid), "-n", sys.executable, "-c", self.PROGRAM, address, str(port)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.longest = 0.0  # wait for a line, in seconds, that any look() has seen
        self.expect("connected")

    def expect(self, word=None):
        line = self.process.stdout.readline().split()
        if not line or (word and line[0] != word) or line[0] == "wrong":
            raise AssertionError(f"the connection broke: {line}")
        return line

    def look(self):
        """How many lines came back so far."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        lines, longest = self.expect()
        self.longest = max(self.longest, float(longest))
        return int(lines)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(60)

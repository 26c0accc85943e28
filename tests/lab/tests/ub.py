#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Beancounters on a stock kernel: what bpf/ub.bpf.c counts is what there is, and no more than allowed.

VZ_TEST_UB_OPERATIONS: how many operations the random tests do (default 20000); VZ_TEST_UB_CONTAINERS: how many containers
have limits at once (50).
"""
import array
import ctypes
import fcntl
import functools
import mmap
import os
import pathlib
import re
import resource
import socket
import struct
import subprocess
import sys
import time
import unittest

import labguest
import vzbpf
from labguest import MIB
from vzbpf import PINS, Group, Map, bpf, programs, vz_bpf
from vzhost import run, wait_for

OPERATIONS = int(os.environ.get("VZ_TEST_UB_OPERATIONS", "20000"))
WORKER = pathlib.Path("/tmp/ub_worker")
ROWS = ("kmemsize lockedpages privvmpages shmpages dummy4 numproc physpages vmguarpages oomguarpages numtcpsock numflock "
        "numpty numsiginfo tcpsndbuf tcprcvbuf othersockbuf dgramrcvbuf numothersock dcachesize numfile dummy20 dummy21 "
        "dummy22 numiptent swappages").split()
UNLIMITED = (1 << 63) - 1
EAGAIN, ENOMEM, ENFILE, ENOSPC, ENOLCK, ENOBUFS = 11, 12, 23, 28, 37, 105
COUNTED = "numfile numtcpsock numothersock numflock numpty shmpages".split()
BEGAN = time.strftime("%Y-%m-%dT%H:%M:%S")
_libc = ctypes.CDLL(None, use_errno=True)


class Row:
    def __init__(self, held, maxheld, failcnt):
        self.held, self.maxheld, self.failcnt = held, maxheld, failcnt


def stamp():
    path = ctypes.create_string_buffer(str(PINS / "vz_ub_stamp").encode())
    fd = bpf(7, struct.pack("=QI", ctypes.addressof(path), 0))
    key, value = ctypes.c_uint32(0), ctypes.c_uint64(time.monotonic_ns())
    bpf(2, struct.pack("=I4xQQQ", fd, ctypes.addressof(key), ctypes.addressof(value), 0))
    os.close(fd)


def run_program(name):
    path = ctypes.create_string_buffer(str(PINS / f"prog_{name}").encode())
    fd = bpf(7, struct.pack("=QI", ctypes.addressof(path), 0))
    attributes = ctypes.create_string_buffer(struct.pack("=I", fd), 128)
    try:
        if _libc.syscall(321, 10, attributes, 128) < 0:
            raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN")
        return struct.unpack_from("=i", attributes, 4)[0]
    finally:
        os.close(fd)


def refresh():
    return run_program("ub_refresh")


class Container(Group):
    """A group that beancounters are kept for."""

    def __init__(self, parent=labguest.CGROUP):
        super().__init__(parent=parent)
        self.make()

    def make(self):
        entries = Map("vz_ub", "=76Q")
        entries.set(self.id, *[0] * 76)
        entries.close()
        stamp()

    def limits(self, **rows):
        """numfile=10, or numfile=(barrier, limit)"""
        barriers, limits = [UNLIMITED] * 25, [UNLIMITED] * 25
        for name, pair in rows.items():
            at = ROWS.index(name)
            barriers[at], limits[at] = pair if isinstance(pair, tuple) else (pair, pair)
        entries = Map("vz_ub_conf", "=50Q")
        entries.set(self.id, *barriers, *limits)
        entries.close()

    def rows(self):
        entries = Map("vz_ub", "=76Q")
        values = entries.get(self.id)
        entries.close()
        self.uncounted = values[75]
        return {name: Row(values[i], values[25 + i], values[50 + i]) for i, name in enumerate(ROWS)}

    def row(self, name):
        return self.rows()[name]

    def held(self, name):
        return self.row(name).held

    def all_held(self):
        rows = self.rows()
        return {name: rows[name].held for name in COUNTED}

    def forget(self):
        for name, form in (("vz_ub", "=76Q"), ("vz_ub_conf", "=50Q")):
            entries = Map(name, form)
            entries.delete(self.id)
            entries.close()
        super().forget()

    def worker(self, *words, **kw):
        return self.spawn(WORKER, *words, **kw)

    def fill(self, kind, tries, threads):
        """MADE REFUSED ERRNO OTHER, and the process, which holds what it made until its stdin ends."""
        child = self.worker("fill", kind, tries, threads)
        return [int(word) for word in child.stdout.readline().split()], child


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not WORKER.exists():
            source = pathlib.Path(__file__).with_name("ub_worker.c")
            run(["gcc", "-O2", "-static", "-pthread", "-o", WORKER, source], check=0)
        if not (PINS / "link_ub_file_free").exists():
            vz_bpf("load")

    def container(self, **kw):
        container = Container(**kw)
        self.addCleanup(container.remove)
        return container

    def nothing_held(self, *containers):
        wait_for(lambda: all(set(c.all_held().values()) == {0} for c in containers), 20,
                 lambda: f"nothing held: {[c.all_held() for c in containers]}")


class Limits(Programs):
    """Exactly so many, and the next one is refused with the right error, and counted as such."""
    #        kind      row             more of them than tries, error
    KINDS = (("file", "numfile", 1, ENFILE), ("tcp", "numtcpsock", 1, ENOBUFS), ("udp", "numothersock", 1, ENOBUFS),
             ("unix", "numothersock", 1, ENOMEM), ("pair", "numothersock", 2, ENOMEM),
             ("netlink", "numothersock", 1, ENOMEM), ("posix", "numflock", 1, ENOLCK), ("flock", "numflock", 1, ENOLCK),
             ("pty", "numpty", 1, ENOSPC), ("signal", "numsiginfo", 1, EAGAIN), ("sysv", "shmpages", 1, ENOMEM),
             ("shared", "shmpages", 1, ENOMEM), ("memfd", "shmpages", 1, ENOSPC), ("page", "shmpages", 1, ENOSPC))

    def check(self, kind, row, each, error, threads):
        container = self.container()
        idle = container.worker("fill", kind, 0, 1)  # what a process holds anyway
        idle.stdout.readline()
        before = container.held(row)
        container.kill()
        self.nothing_held(container)
        limit, tries = before + 40, 120 // threads
        container.limits(**{row: limit})
        (made, refused, errno, other), child = container.fill(kind, tries, threads)
        self.assertEqual(refresh(), 0)
        now = container.row(row)
        self.assertEqual((made, refused, other, errno), (40 // each, tries * threads - 40 // each, 0, error))
        self.assertEqual((now.held, now.maxheld, now.failcnt), (limit, limit, refused))
        child.communicate()
        self.nothing_held(container)
        self.assertEqual((refresh(), container.held(row)), (0, 0))
        self.assertEqual(container.row(row).maxheld, limit)
        self.assertEqual(container.uncounted, 0)

    def test_one_thread(self):
        for kind in self.KINDS:
            with self.subTest(kind[0]):
                self.check(*kind, 1)

    def test_four_threads(self):
        for kind in self.KINDS:
            with self.subTest(kind[0]):
                self.check(*kind, 4)

    def nested(self, kind, threads, limit=UNLIMITED):
        """Threads on one CPU, each of which interrupts all before it wherever they are, in our programs, too."""
        container = self.container()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, max(hard, 20000)))
        row, each = next((row, each) for name, row, each, _ in self.KINDS if name == kind)
        idle = container.worker("fill", kind, 0, 1, cpus={0})
        idle.stdout.readline()
        before = container.held(row)
        container.kill()
        self.nothing_held(container)
        container.limits(**{row: min(limit + before, UNLIMITED)})
        child = container.worker("nested", kind, 1000, threads, cpus={0})
        made, refused, _, other = (int(word) for word in child.stdout.readline().split())
        self.assertEqual((made + refused, other), (1000 * threads, 0))
        found = container.row(row)
        self.assertEqual((found.held, found.failcnt), (before + each * made, refused), f"left out: {vzbpf.left_out()}")
        child.communicate()
        self.nothing_held(container)
        return each * made

    def test_who_is_interrupted_pays(self):
        for kind in ("file", "udp", "pair"):
            with self.subTest(kind):
                self.nested(kind, 4)

    def test_who_is_interrupted_is_refused(self):
        """Three threads: on 7.2 a fourth could slip through when each of the others is in another of three programs."""
        for kind in ("file", "udp"):
            with self.subTest(kind):
                self.assertEqual(self.nested(kind, 3, 1000), 1000)

    def test_barrier_and_limit(self):
        container = self.container()
        for pair, most in (((20, 30), 20), ((30, 20), 20), ((UNLIMITED, 25), 25), ((0, 0), 0)):
            with self.subTest(pair):
                container.limits(numothersock=pair)
                (made, refused, errno, _), child = container.fill("udp", 50, 1)
                self.assertEqual((made, refused, errno), (most, 50 - most, ENOBUFS))
                child.communicate()
                wait_for(lambda: container.held("numothersock") == 0)

    def test_below_what_is_held(self):
        container = self.container()
        _, child = container.fill("udp", 30, 1)
        container.limits(numothersock=10)
        self.assertEqual(container.held("numothersock"), 30)
        (made, refused, _, _), second = container.fill("udp", 5, 1)
        self.assertEqual((made, refused), (0, 5))
        child.communicate()
        second.communicate()
        wait_for(lambda: container.held("numothersock") == 0)
        (made, refused, _, _), third = container.fill("udp", 20, 1)
        self.assertEqual((made, refused), (10, 10))
        third.communicate()

    def test_a_kill_is_never_refused(self):
        """kill(2) may not fail for want of memory, whatever the signal. What it puts into the queue counts."""
        container = self.container()
        container.limits(numsiginfo=20)
        code = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN, signal.SIGUSR1])
def queue():
    return ctypes.get_errno() if libc.sigqueue(os.getpid(), signal.SIGRTMIN, ctypes.c_void_p(1)) else 0
for _ in range(30):
    os.kill(os.getpid(), signal.SIGRTMIN)
    os.kill(os.getpid(), signal.SIGUSR1)
print(queue(), flush=True)
input()
for _ in range(11):
    signal.sigtimedwait([signal.SIGRTMIN], 0)
print(*[queue() for _ in range(3)], flush=True)
input()
"""
        child = container.spawn(sys.executable, "-c", code)
        self.assertEqual(child.stdout.readline().strip(), str(EAGAIN))
        self.assertEqual((refresh(), container.held("numsiginfo"), container.row("numsiginfo").failcnt), (0, 31, 1))
        child.stdin.write("\n")
        child.stdin.flush()
        self.assertEqual(child.stdout.readline().split(), [str(EAGAIN)] * 3)
        self.assertEqual((refresh(), container.held("numsiginfo")), (0, 20))
        child.communicate("\n")
        self.assertEqual((refresh(), container.held("numsiginfo")), (0, 0))

    def test_raised_at_once(self):
        container = self.container()
        container.limits(numtcpsock=3)
        self.assertEqual(container.fill("tcp", 5, 1)[0][:2], [3, 2])
        container.limits(numtcpsock=8)
        self.assertEqual(container.fill("tcp", 10, 1)[0][:2], [5, 5])

    def test_without_a_conf_nothing_is_refused(self):
        container = self.container()
        self.assertEqual(container.fill("udp", 300, 1)[0], [300, 0, 0, 0])
        self.assertEqual(container.row("numothersock").held, 300)

    def test_connections_from_outside(self):
        """The server's container pays for them: over its limit they are not made."""
        server = self.container()
        server.limits(numtcpsock=11)
        listener = server.worker("listen")
        port = int(listener.stdout.readline().split()[0])
        self.assertEqual(server.held("numtcpsock"), 1)
        clients = Group()
        self.addCleanup(clients.remove)
        client = clients.spawn(WORKER, "connect", port, 30)
        client.stdout.readline()
        wait_for(lambda: server.row("numtcpsock").failcnt > 0, what="a refused connection")
        self.assertEqual((server.held("numtcpsock"), server.row("numtcpsock").maxheld), (11, 11))
        clients.kill()
        listener.communicate()
        self.nothing_held(server)

    def test_unlocking_works_at_the_limit(self):
        container = self.container()
        container.limits(numflock=10)
        code = """
import fcntl
held = open("/tmp/ub_unlock", "w")
for at in range(10):
    fcntl.lockf(held, fcntl.LOCK_EX, 1, 2 * at)
for at in range(10):
    fcntl.lockf(held, fcntl.LOCK_UN, 1, 2 * at)
fcntl.lockf(held, fcntl.LOCK_EX, 1000000, 0)
made = 1
try:
    for at in range(200):
        fcntl.lockf(held, fcntl.LOCK_UN, 1, 5 + 2 * at)
        made += 1
except OSError as error:
    print(made, error.errno)
"""
        status, out = container.run(sys.executable, "-c", code)
        self.assertEqual((status, out.split()[1:]), (0, [str(ENOLCK)]))
        self.assertLess(int(out.split()[0]), 10 + 10 // 8 + 16 + 3)  # splitting a range is no way around
        self.nothing_held(container)


def in_fds(pids):
    """(pid, fd, what it leads to) of all open descriptors."""
    for pid in pids:
        directory = pathlib.Path(f"/proc/{pid}/fd")
        for fd in os.listdir(directory):
            yield pid, int(fd), os.readlink(directory / fd)


def open_files(pids):
    """How many open files there are behind the descriptors of all, as kcmp(2) tells them apart."""
    def compare(a, b):
        order = _libc.syscall(312, a[0], b[0], 0, a[1], b[1])
        if order < 0:
            raise OSError(ctypes.get_errno(), f"kcmp {a} {b}")
        return (0, -1, 1, 1)[order]
    found = sorted(((pid, fd) for pid, fd, _ in in_fds(pids)), key=functools.cmp_to_key(compare))
    return [one for i, one in enumerate(found) if i == 0 or compare(found[i - 1], one) != 0]


def only_mapped(pid):
    """Open files of the worker that no descriptor leads to: its program, and the page from which it is told to stop."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    return len({line.split()[4] for line in maps.splitlines()} - {"0"})


def tcp_without_descriptor(pid):
    """TCP in the network namespace of `pid` that no descriptor leads to: not accepted, or not finished."""
    found = 0
    for name in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            # requests and what waits for its end are no sockets
            found += words[9] == "0" and words[3] != "03" and not words[5].startswith("03:")
    return found


def unix_sockets(pid):
    """All of AF_UNIX in the network namespace of `pid`. Besides those that sock_diag(7) knows there are connections that
    nobody has accepted, and closed ones that live on because the other end still refers to them."""
    table, no_inode = 0, 0
    asker = netlink_in(pid, 4)  # NETLINK_SOCK_DIAG
    # SOCK_DIAG_BY_FAMILY, dump, all states, with the other end
    asker.send(struct.pack("=IHHII" "BBHIIIII", 40, 20, 0x301, 1, 0, socket.AF_UNIX, 0, 0, 0xffffffff, 0, 4, 0, 0))
    for kind, message in netlink_messages(asker):
        if kind == 2:
            raise OSError(-struct.unpack_from("=i", message)[0], "sock_diag")
        table += 1
        no_inode += dict(attributes_of(message[16:])).get(2) == bytes(4)
    asker.close()
    lines = [line.split() for line in pathlib.Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    waiting = [int(words[1], 16) for words in lines if words[6] == "0"]  # their reference counts
    with_client = waiting.count(3)
    return table + len(waiting) + no_inode - with_client + len(waiting) - with_client


def netlink_in(pid, protocol):
    home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    os.setns(there, os.CLONE_NEWNET)
    asker = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    os.setns(home, os.CLONE_NEWNET)
    os.close(home)
    os.close(there)
    return asker


def netlink_messages(asker):
    while True:
        data = asker.recv(1 << 16)
        while data:
            size, kind = struct.unpack_from("=IH", data)
            if kind == 3:
                return
            yield kind, data[16:size]
            data = data[(size + 3) & ~3:]


def attributes_of(data):
    while data:
        size, name = struct.unpack_from("=HH", data)
        yield name, data[4:size]
        data = data[(size + 3) & ~3:]


def locks_on(path):
    status = os.stat(path)
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return sum(1 for line in pathlib.Path("/proc/locks").read_text().splitlines() if f" {name} " in line and "->" not in line)


class Control:
    """The page that all workers look at."""

    def __init__(self, name):
        self.path = pathlib.Path(name)
        self.path.write_bytes(bytes(4096))
        self.file = open(self.path, "r+b")
        self.page = mmap.mmap(self.file.fileno(), 4096)

    def get(self, at):
        return struct.unpack_from("=Q", self.page, 8 * at)[0]

    def park(self, value):
        struct.pack_into("=Q", self.page, 8, value)

    parked = property(lambda self: self.get(0))
    done = property(lambda self: self.get(2))
    refused = property(lambda self: self.get(3))


class Walked(Programs):
    """Rows that are added up when somebody reads."""

    def test_socket_buffers(self):
        container = self.container()
        code = """
import socket, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
for size in (10, 1000, 5000):
    udp.sendto(bytes(size), udp.getsockname())
server = socket.create_server(("127.0.0.1", 0))
one = socket.create_connection(server.getsockname())
other, _ = server.accept()
one.setblocking(False)
try:
    while True:
        one.send(bytes(1 << 16))
except BlockingIOError:
    pass
pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
pair[0].send(bytes(3000))
time.sleep(1)
print("ready", flush=True)
input()
"""
        child = container.spawn("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, "-c", code)
        self.assertEqual(child.stdout.readline().strip(), "ready")
        self.assertEqual(refresh(), 0)
        expected = self.buffers(child.pid)
        seen = {name: container.held(name) for name in expected}
        self.assertEqual(seen, expected)
        self.assertGreater(min(seen.values()), 2000)
        child.communicate("\n")
        self.nothing_held(container)
        refresh()
        self.assertEqual({container.held(name) for name in expected}, {0})
        self.assertEqual({name: container.row(name).maxheld for name in expected}, expected)

    def buffers(self, pid):
        """As ss(8) shows them."""
        sums = dict.fromkeys(("tcpsndbuf", "tcprcvbuf", "othersockbuf", "dgramrcvbuf"), 0)
        for words in ("-tamnH", "-uxamnH"):
            out = run(["nsenter", "--net", f"--target={pid}", "ss", words], check=0).out
            for memory in re.findall(r"skmem:\(([^)]*)\)", out):
                count = {name: int(value) for name, value in re.findall(r"([a-z]+)(\d+)", memory)}
                tcp = words == "-tamnH"
                sums["tcprcvbuf" if tcp else "dgramrcvbuf"] += count["r"]
                sums["tcpsndbuf" if tcp else "othersockbuf"] += count["w"] if tcp else count["t"]
        return sums

    def test_private_memory(self):
        container = self.container()
        container.configure()
        worker = container.worker("fill", "file", 0, 1)
        worker.stdout.readline()
        refresh()
        self.assertEqual(container.held("privvmpages"), container.state().held)
        self.assertGreater(container.held("privvmpages"), 0)

    def test_many_at_a_time(self):
        code = "import sys; sys.path.insert(0, sys.argv[1]); import ub; print(max(abs(ub.refresh()) for _ in range(50)))"
        readers = [subprocess.Popen([sys.executable, "-c", code, pathlib.Path(__file__).parent], stdout=subprocess.PIPE,
                                    text=True) for _ in range(4)]
        answers = {int(reader.communicate(timeout=120)[0]) for reader in readers}
        self.assertLessEqual(answers, {0, 16})  # EBUSY
        self.assertEqual(refresh(), 0)


SHARED = """
import ctypes, mmap, os, random, sys
libc = ctypes.CDLL(None, use_errno=True)
random.seed(int(sys.argv[1]))
files, sized, touched, refused = [], [], [], 0

def truth():
    return (sum(os.fstat(fd).st_blocks // 8 for fd in files) + sum(len(memory) // 4096 for memory in sized)
            + sum(len(pages) for _, pages in touched))

def operate():
    what, page, pages = random.randrange(10), random.randrange(64), random.randrange(1, 6)
    if what == 0:
        files.append(os.memfd_create("ub"))
    elif what == 1 and len(files) > 6:
        os.close(files.pop(random.randrange(len(files))))
    elif what == 2:
        sized.append(mmap.mmap(-1, pages * 4096))
    elif what == 3 and len(sized) > 6:
        sized.pop(random.randrange(len(sized))).close()
    elif what == 4 and sys.argv[2] == "fault":
        memory = mmap.mmap(-1, 65536, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x4000)  # MAP_NORESERVE
        mine = {random.randrange(16) for _ in range(pages)}
        for number in mine:
            memory[number * 4096] = 1
        touched.append((memory, mine))
        if len(touched) > 4:
            touched.pop(0)[0].close()
    elif files:
        fd = random.choice(files)
        if what == 5:
            os.ftruncate(fd, page * 4096 + random.randrange(4096))
        elif what == 6:
            libc.fallocate(fd, 3, ctypes.c_long(page * 4096), ctypes.c_long(pages * 4096))  # a hole
        elif what == 7:
            os.posix_fallocate(fd, page * 4096, pages * 4096)
        elif what == 8 and os.fork() == 0:
            try:
                os.pwrite(fd, b"x", page * 4096)
            except OSError:
                pass
            os._exit(0)
        elif what == 8:
            os.wait()
        else:
            os.pwrite(fd, bytes(pages * 4096), page * 4096)

for line in sys.stdin:
    for _ in range(int(line)):
        try:
            operate()
        except OSError as error:
            if error.errno not in (12, 28):
                raise
            refused += 1
    print(truth(), refused, flush=True)
"""


class Shared(Programs):
    """Pages of shared memory: of segments and shared mappings their size, of files what they have."""

    def random(self, *words):
        container = self.container()
        child = container.spawn(sys.executable, "-c", SHARED, *words)
        return container, child

    def ask(self, child, operations):
        child.stdin.write(f"{operations}\n")
        child.stdin.flush()
        return [int(word) for word in child.stdout.readline().split()]

    def compare(self, seed, *limit):
        container, child = self.random(seed, "write" if limit else "fault")
        container.limits(**({"shmpages": limit[0]} if limit else {}))
        refused = 0
        for part in range(5):
            expected, refused = self.ask(child, 400)
            if part % 2:
                container.reclaim(64 * MIB)  # what is in swap is held as before
            self.assertEqual(container.held("shmpages"), expected)
        self.assertEqual(container.uncounted, 0)
        row = container.row("shmpages")
        child.communicate()
        self.nothing_held(container)
        return row, refused

    def test_random(self):
        row, refused = self.compare(1)
        self.assertEqual((row.failcnt, refused), (0, 0))
        self.assertGreater(row.maxheld, 100)

    def test_random_at_the_limit(self):
        row, refused = self.compare(2, 60)
        self.assertGreater(refused, 20)
        self.assertGreaterEqual(row.failcnt, refused)  # those of children, too
        self.assertLessEqual(row.maxheld, 60)

    def test_a_fault_beyond_the_limit(self):
        container = self.container()
        code = """
import mmap
memory = mmap.mmap(-1, 1 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x4000)
for page in range(256):
    memory[page * 4096] = 1
    print(page, flush=True)
"""
        container.limits(shmpages=25)
        status, out = container.run(sys.executable, "-c", code)
        self.assertEqual((status, out.split()[-1]), (-7, "24"))  # SIGBUS
        self.assertEqual((container.row("shmpages").maxheld, container.row("shmpages").failcnt), (25, 1))
        self.nothing_held(container)

    def test_a_full_file_system(self):
        """What the file system refuses is neither held nor a refusal of ours."""
        container = self.container()
        mounted = pathlib.Path("/tmp/ub_tmpfs")
        mounted.mkdir(exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", mounted], check=0)
        try:
            status, _ = container.run("dd", "if=/dev/zero", f"of={mounted}/file", "bs=4k", "count=60", "status=none")
            self.assertNotEqual(status, 0)
            self.assertEqual((mounted / "file").stat().st_blocks, 20 * 8)
            self.assertEqual((container.held("shmpages"), container.row("shmpages").failcnt), (20, 0))
            (mounted / "file").unlink()
            self.assertEqual(container.held("shmpages"), 0)
        finally:
            run(["umount", mounted], check=0)

    def test_more_than_there_can_be(self):
        """What the kernel itself refuses was never held."""
        container = self.container()
        code = """
import mmap
try:
    mmap.mmap(-1, 1 << 45)
except OSError as error:
    print(error.errno)
"""
        self.assertEqual(container.run(sys.executable, "-c", code), (0, f"{ENOMEM}\n"))
        row = container.row("shmpages")
        self.assertEqual((row.held, row.maxheld, row.failcnt), (0, 0, 0))

    def test_below_what_is_held(self):
        container = self.container()
        _, child = container.fill("page", 30, 1)
        container.limits(shmpages=10)
        self.assertEqual(container.held("shmpages"), 30)
        for kind, error in (("shared", ENOMEM), ("memfd", ENOSPC)):
            self.assertEqual(container.fill(kind, 5, 1)[0], [0, 5, error, 0])
        child.communicate()
        wait_for(lambda: container.held("shmpages") == 0)
        self.assertEqual(container.fill("shared", 20, 1)[0][:2], [10, 10])

    def test_who_made_it_pays(self):
        """Whoever writes into a file of the container: the container pays. A file of somebody else costs it nothing."""
        container = self.container()
        child = container.spawn(sys.executable, "-c", "import os; fd = os.memfd_create('ub'); os.write(fd, bytes(4096)); "
                                "print(fd, flush=True); input()")
        fd = int(child.stdout.readline())
        with open(f"/proc/{child.pid}/fd/{fd}", "r+b", buffering=0) as file:
            file.write(bytes(5 * 4096))
            self.assertEqual(container.held("shmpages"), 5)
            child.communicate("\n")
            self.assertEqual(container.held("shmpages"), 5)
        self.nothing_held(container)

    def test_in_a_namespace_of_its_own(self):
        container = self.container()
        container.limits(shmpages=7)
        child = container.spawn("unshare", "--user", "--map-root-user", "--ipc", WORKER, "fill", "sysv", 10, 1)
        self.assertEqual(child.stdout.readline().split(), ["7", "3", str(ENOMEM), "0"])


def numbers_of(container):
    """What the files of the group say, in the order of struct vz_ub_group."""
    def fields(name):
        return {key: int(value) for key, value in (line.split() for line in (container.path / name).read_text().splitlines())}

    def number(name):
        return int((container.path / name).read_text())
    stat = fields("memory.stat")
    return [stat["kernel"], stat["unevictable"], stat["shmem"], stat["slab_reclaimable"],
            number("memory.current"), number("memory.peak"), fields("memory.events.local")["max"],
            number("memory.swap.current"), number("memory.swap.peak"), fields("memory.swap.events")["max"],
            fields("memory.events")["oom_kill"],
            number("pids.current"), number("pids.peak"), fields("pids.events")["max"]]


class Many(Programs):
    """VZ_TEST_UB_CONTAINERS at once (50), each with limits of its own."""

    def test_each_has_its_own_limit(self):
        containers = [self.container() for _ in range(int(os.environ.get("VZ_TEST_UB_CONTAINERS", "50")))]
        children = []
        for number, container in enumerate(containers):
            container.limits(numothersock=1 + number % 7, numflock=2)
            children.append(container.worker("fill", "udp", 10, 1))
        for number, (container, child) in enumerate(zip(containers, children)):
            limit = 1 + number % 7
            made, refused, errno, other = (int(word) for word in child.stdout.readline().split())
            self.assertEqual((made, refused, errno, other), (limit, 10 - limit, ENOBUFS, 0))
            row = container.row("numothersock")
            self.assertEqual((row.held, row.maxheld, row.failcnt, container.uncounted), (limit, limit, 10 - limit, 0))
        self.assertEqual(run_program("ub_groups"), 0)
        entries = Map("vz_ub_group", "=15Q")
        self.assertEqual([entries.get(container.id)[12] for container in containers], [1] * len(containers))  # processes
        entries.close()
        for child in children:
            child.communicate()
        self.nothing_held(*containers)


class Groups(Programs):
    """What control groups count, read by a program for all at once: the same as their files say."""

    def numbers(self, container):
        self.assertEqual(run_program("ub_groups"), 0)
        entries = Map("vz_ub_group", "=15Q")
        try:
            return list(entries.get(container.id))
        finally:
            entries.close()

    def compare(self, container):
        seen = []

        def same():
            before = numbers_of(container)
            seen[:] = [before, self.numbers(container)]
            return seen[1][0] & 3 == 3 and seen[1][1:] == before and before == numbers_of(container)
        try:
            wait_for(same, 20)
        except AssertionError:
            self.assertEqual(seen[1][1:], seen[0])
        return dict(zip("kernel unevictable shmem dcache ram ram_peak ram_hits swap swap_peak swap_hits oom_kills processes "
                        "processes_peak processes_hits".split(), seen[1][1:]))

    def test_as_in_the_files(self):
        container = self.container()
        code = """
import ctypes, mmap, os, signal
shared = mmap.mmap(-1, 4 << 20)
shared[:] = bytes(4 << 20)
locked = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
locked[:] = bytes(1 << 20)
assert ctypes.CDLL(None).mlock(ctypes.byref(ctypes.c_char.from_buffer(locked)), 1 << 20) == 0
error = None
for _ in range(30):
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError as refused:
        error = refused.errno
print(error, flush=True)
signal.pause()
"""
        (container.path / "pids.max").write_text("12")
        child = container.spawn(sys.executable, "-c", code)
        self.assertEqual(child.stdout.readline().strip(), str(EAGAIN))
        found = self.compare(container)
        self.assertGreaterEqual(found["shmem"], 4 * MIB)
        self.assertGreaterEqual(found["unevictable"], MIB)
        self.assertEqual((found["processes"], found["processes_peak"]), (12, 12))
        self.assertEqual(found["processes_hits"], 30 - 11)
        self.assertGreater(found["kernel"], 0)
        container.kill()

    def test_a_full_group(self):
        container = self.container()
        (container.path / "memory.max").write_text(str(16 * MIB))
        (container.path / "memory.swap.max").write_text("0")
        status, _ = container.run(sys.executable, "-c", "x = bytearray(b'x') * (64 << 20)")
        self.assertNotEqual(status, 0)
        found = self.compare(container)
        self.assertGreater(found["ram_hits"], 0)
        self.assertEqual(found["oom_kills"], 1)

    def test_one_that_is_gone(self):
        container = Container()
        self.assertEqual(run_program("ub_groups"), 0)
        counted, entries = Map("vz_ub_group", "=15Q"), Map("vz_ub", "=76Q")
        self.addCleanup(counted.close)
        self.addCleanup(entries.close)
        counted.get(container.id)
        container.remove()
        entries.set(container.id, *[0] * 76)
        self.assertEqual(run_program("ub_groups"), 0)
        self.assertRaises(FileNotFoundError, counted.get, container.id)
        entries.delete(container.id)


class Locked(Programs):
    """Why lockedpages has no limit: should one of these fail, a kernel has learnt something, and there can be one."""
    MODIFY_RETURN = 26  # enum bpf_attach_type
    CALLS = ("mlock", "mlock2", "mlockall")

    def test_no_program_may_refuse_what_enters_by_int_0x80(self):
        self.assertTrue(vzbpf.loads("security_vm_enough_memory_mm", self.MODIFY_RETURN))
        for call in self.CALLS:
            self.assertFalse(vzbpf.loads(f"__ia32_sys_{call}", self.MODIFY_RETURN), call)

    def test_no_hook_is_called(self):
        """By a process that may lock as much as it likes, and by one that has a bound and is below it."""
        tracing = pathlib.Path("/sys/kernel/tracing")
        if not (tracing / "trace").exists():
            run(["mount", "-t", "tracefs", "tracefs", tracing], check=0)
        for memlock in ("unlimited", "67108864"):
            with self.subTest(memlock):
                container = self.container()
                child = container.spawn("prlimit", f"--memlock={memlock}", "setpriv", "--bounding-set", "-ipc_lock",
                                        WORKER, "lock", tracing / "trace_marker")
                (tracing / "trace").write_text("\n")
                (tracing / "tracing_on").write_text("1")
                (tracing / "set_ftrace_filter").write_text("security_*")
                (tracing / "set_ftrace_pid").write_text(str(child.pid))
                self.addCleanup((tracing / "set_ftrace_pid").write_text, "\n")
                self.addCleanup((tracing / "set_ftrace_filter").write_text, "\n")
                self.addCleanup((tracing / "current_tracer").write_text, "nop")
                (tracing / "current_tracer").write_text("function")
                child.communicate("\n", timeout=120)
                (tracing / "tracing_on").write_text("0")
                self.assertEqual(child.returncode, 0)
                trace = (tracing / "trace").read_text()
                self.assertIn("security_", trace)  # it does trace
                calls = trace.split("ub begins")[1].split("ub ends")[0]
                found = set(re.findall(r"security_\w+", calls))
                # those of writing the second mark
                self.assertLessEqual(found, {"security_file_permission"}, calls)


class Rules(Programs):
    """Rules of packet filters in the network namespace of the container's first process."""

    @classmethod
    def setUpClass(cls):
        run(["modprobe", "nf_tables"], check=0)
        super().setUpClass()
        if not (PINS / "link_ub_iptent_charge").exists():
            vz_bpf("load")

    def begin(self):
        container = self.container()
        child = container.spawn("unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", "echo; sleep 1000")
        child.stdout.readline()
        return container

    def test_limit(self):
        """Exactly so many, and the next one is refused; whoever is at the limit can take rules away."""
        container = self.begin()
        init = next(pid for pid in container.pids() if inner_pid(pid) == 1)
        container.limits(numiptent=5)

        def nft(*words):
            child = container.spawn("sh", "-c", 'exec "$@" 2>&1', "sh", "nsenter", "--net", f"--target={init}", "nft", *words)
            out, _ = child.communicate(timeout=120)
            return child.returncode, out
        self.assertEqual(nft("add table inet one; add chain inet one a")[0], 0)
        add = "add rule inet one a tcp dport 1 drop"
        for _ in range(5):
            self.assertEqual(nft(add), (0, ""))
        status, out = nft(add)
        self.assertNotEqual(status, 0)
        self.assertIn("Cannot allocate memory", out)
        self.assertEqual((refresh(), container.held("numiptent"), container.row("numiptent").failcnt), (0, 5, 1))
        self.assertEqual(nft("flush chain inet one a")[0], 0)
        self.assertNotEqual(nft("; ".join([add] * 6))[0], 0)
        self.assertEqual(nft("; ".join([add] * 5)), (0, ""))
        self.assertEqual((refresh(), container.held("numiptent"), container.row("numiptent").failcnt), (0, 5, 2))

    def test_nftables(self):
        container = self.begin()
        self.assertEqual((refresh(), container.held("numiptent")), (0, 0))
        init = next(pid for pid in container.pids() if inner_pid(pid) == 1)
        rules = "table inet one { chain a { tcp dport 1 drop; tcp dport 2 drop; }; chain b { }; chain c { drop; }; }\n" \
                "table ip two { }\ntable ip6 three { chain a { udp dport 3 accept; }; }\n"
        run(["nsenter", "--net", f"--target={init}", "nft", "-f", "-"], stdin=rules, check=0)
        self.assertEqual((refresh(), container.held("numiptent")), (0, 4))
        run(["nsenter", "--net", f"--target={init}", "nft", "flush", "chain", "inet", "one", "a"], check=0)
        self.assertEqual((refresh(), container.held("numiptent")), (0, 2))
        self.assertEqual(container.row("numiptent").maxheld, 4)


def inner_pid(pid):
    """In the innermost PID namespace that it is in, when that is not ours."""
    numbers = pathlib.Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].splitlines()[0].split()
    return int(numbers[-1]) if len(numbers) > 1 else None


class Truth(Programs):
    """Random operations in two containers with inner groups, and by a process outside; then everything is compared."""

    def start(self, containers, each=3, seed=1):
        """Workers in the inner groups of all, each container in a network namespace of its own."""
        self.control = Control(f"/tmp/ub_control{seed}")
        self.control.park(1)
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        os.dup2(ends[0].fileno(), 500)
        os.dup2(ends[1].fileno(), 501)
        for end in ends:
            end.close()
        self.addCleanup(lambda: (os.close(500), os.close(501)))
        self.workers, self.spaces = {}, {}
        for number, container in enumerate(containers):
            inner = [container.path / name for name in ("one", "two")]
            for path in inner:
                path.mkdir()
            holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 10000"],
                                      stdout=subprocess.PIPE)
            holder.stdout.readline()
            self.addCleanup(lambda holder=holder: (holder.kill(), holder.wait(), holder.stdout.close()))
            self.spaces[container] = holder.pid
            container.locks = [f"/tmp/ub_locks_{seed}_{number}_{i}" for i in range(each)]
            self.workers[container] = [
                self.worker(path, holder.pid, [WORKER, "mix", self.control.path, 500, seed * 1000 + number * 100 + i,
                                               container.locks[i], *(inner_path / "cgroup.procs" for inner_path in inner)])
                for i, path in ((i, inner[i % 2]) for i in range(each))]
        self.count = len(containers) * each

    def worker(self, path, space, argv):
        def enter():
            (path / "cgroup.procs").write_text("0")
            os.nice(10)  # whoever loads programs meanwhile gets on
        child = subprocess.Popen(["nsenter", "--net", f"--target={space}", *map(str, argv)], preexec_fn=enter,
                                 pass_fds=(500, 501), stdin=subprocess.DEVNULL)
        self.addCleanup(lambda: (child.kill(), child.wait()))
        return child

    def pause(self):
        self.control.park(1)
        wait_for(lambda: self.control.parked == self.count, 120, "all workers to wait")

    def go_on(self, operations):
        target = self.control.done + operations
        self.control.park(0)
        wait_for(lambda: self.control.parked == 0, 60)
        while self.control.done < target:
            for worker in sum(self.workers.values(), []):
                self.assertIsNone(worker.poll(), "a worker has died")
            self.meddle()
            time.sleep(0.05)

    def meddle(self):
        """From outside: takes a descriptor out of the mailbox, and closes it."""
        end = socket.socket(fileno=os.dup(501))
        try:
            _, rights, _, _ = end.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_DONTWAIT)
            for _, _, data in rights:
                for fd in array.array("i", data[:4]):
                    os.close(fd)
        except BlockingIOError:
            pass
        end.close()

    def truth(self, containers):
        """What each container holds, as far as that can be told; files only for all of them together."""
        pids = [worker.pid for group in containers for worker in self.workers[group]]
        mine = {os.stat(f"/proc/self/fd/{fd}").st_ino for fd in (500, 501)}
        files = [one for one in open_files(pids) if self.is_theirs(one, mine)]
        found = {}
        for group in containers:
            kinds = list(socket_kinds_by_space(pids, self.spaces[group]).values())
            tcp, unix = tcp_without_descriptor(self.spaces[group]), unix_sockets(self.spaces[group])
            found[group] = {"numtcpsock": kinds.count("tcp") + tcp, "numothersock": kinds.count("other") + unix,
                            "numflock": sum(locks_on(path) for path in group.locks)}
        return found, {"numfile": len(files) + sum(only_mapped(pid) for pid in pids), "numpty": terminals()}

    def is_theirs(self, one, mine):
        target = f"/proc/{one[0]}/fd/{one[1]}"
        return os.stat(target).st_ino not in mine and one[1] > 2

    def compare(self, containers):
        """Nothing moves any more, but the kernel may still be ending what was closed: a socket's last timer, for one."""
        self.pause()
        self.settle(containers)
        for left in range(30, -1, -1):
            by_group, together = self.truth(containers)
            seen = {group: group.all_held() for group in containers}
            counted = [{name: seen[group][name] for name in by_group[group]} for group in containers]
            counted.append({name: sum(seen[group][name] for group in containers) for name in together})
            if counted == [*(by_group[group] for group in containers), together] or not left:
                break
            time.sleep(1)
        self.assertEqual(counted, [*(by_group[group] for group in containers), together],
                         f"uncounted: {[group.uncounted for group in containers]}; left out: {vzbpf.left_out()}")
        for group in containers:
            self.assertEqual(group.uncounted, 0)

    def settle(self, containers):
        """What is closed is gone a moment later: a worker of the kernel closes cycles of sockets."""
        last = None
        for _ in range(50):
            time.sleep(0.2)
            socket.socket(socket.AF_UNIX).close()  # wakes that worker
            now = [group.all_held() for group in containers]
            if now == last:
                return
            last = now

    def begin(self, seed, **limits):
        containers = [self.container(), self.container()]
        self.addCleanup(lambda: [path.rmdir() for c in containers for path in c.path.iterdir() if path.is_dir()])
        self.start(containers, seed=seed)
        self.pause()
        for container in containers:
            container.limits(**limits)
        return containers

    def end(self, containers):
        print(f"# {self.control.done} operations, {self.control.refused} refused; most: "
              f"{[{name: row.maxheld for name, row in c.rows().items() if row.maxheld} for c in containers]}; "
              f"left out: {vzbpf.left_out()}")
        for container in containers:
            container.kill()
            for worker in self.workers[container]:
                worker.wait()
        self.nothing_held(*containers)

    def check(self, seed, rounds=6, **limits):
        containers = self.begin(seed, **limits)
        for _ in range(rounds):
            self.go_on(OPERATIONS // rounds)
            self.compare(containers)
        self.end(containers)
        return containers

    def test_without_limits(self):
        self.check(seed=1)

    def test_at_their_limits(self):
        limits = {"numfile": 45, "numtcpsock": 6, "numothersock": 15, "numflock": 12, "numpty": 3}
        for container in self.check(2, **limits):
            rows = container.rows()
            for name, limit in limits.items():
                self.assertGreater(rows[name].failcnt, 0, name)
                if name != "numflock":  # unlocking may split a range
                    self.assertLessEqual(rows[name].maxheld, limit, name)

    def on_one_cpu(self):
        """QEMU without KVM at times runs code on one CPU that another one has just patched (int3 in the console log):
        each program that comes or goes patches a function in use."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {0})
        self.addCleanup(os.sched_setaffinity, 0, before)

    def test_programs_replaced_under_load(self):
        self.on_one_cpu()
        containers = self.begin(3)
        for _ in range(2):
            self.go_on(2000)
            vz_bpf("load")
            self.compare(containers)
        self.end(containers)

    def test_programs_that_come_later(self):
        """What was there before is nobody's: its end changes nothing."""
        self.on_one_cpu()
        containers = self.begin(4)
        self.go_on(5000)
        vz_bpf("unload", check=0)
        time.sleep(1)
        vz_bpf("load")
        for container in containers:
            container.make()
        self.go_on(5000)
        self.pause()
        self.settle(containers)
        for container in containers:
            for name, row in container.rows().items():
                self.assertLess(row.held, 1000, f"{name} went below zero")
        self.end(containers)


class Zz_Faults(Programs):
    """Last: programs and maps are taken away. In this order each test leaves what the next one begins with: to bring all
    programs in, or away, takes half a minute in a guest without KVM."""

    def test_0_pins_of_an_earlier_set(self):
        """Programs that this version no longer has go with the first load, whatever a load that was killed left of them;
        what is counted stays."""
        container = self.container()
        _, child = container.fill("udp", 20, 1)
        _, pages = container.fill("page", 30, 1)
        hook, older = vzbpf.function_id("bpf_lsm_file_open"), {}
        for name in ("link_ub_file_before1", "link_ub_file_before2", "new_ub_file_before3", "link_ub_of_another_time"):
            link = vzbpf.hang_on(hook)
            vzbpf.pin(link, name)
            os.close(link)
            older[name] = vzbpf.program_of(PINS / name)
        path = ctypes.create_string_buffer(str(PINS / "prog_ub_refresh").encode())
        fd = bpf(7, struct.pack("=QI", ctypes.addressof(path), 0))
        for name in ("prog_ub_walk", "next_ub_walk"):
            vzbpf.pin(fd, name)
        os.close(fd)
        other = PINS.parent / "0"  # of another layout: none of our business
        other.mkdir()
        self.addCleanup(lambda: other.rmdir() if other.exists() else None)
        before = {pin.name for pin in PINS.iterdir()} - set(older) - {"prog_ub_walk", "next_ub_walk"}
        loaded = programs(vz_bpf("load"))
        self.assertEqual({pin.name for pin in PINS.iterdir()}, before)
        for name, number in older.items():
            wait_for(lambda number=number: not vzbpf.program_lives(number), 60, f"the end of {name}")
        wrong = {name: program["reason"] for name, program in loaded.items() if program["object"] == "ub"
                 and not program["attached"] and not program["reason"].startswith("not needed")}
        self.assertEqual(wrong, {})
        self.assertTrue(other.exists())
        self.assertEqual(container.held("numothersock"), 20)
        container.limits(numothersock=25, shmpages=32)
        self.assertEqual(container.fill("udp", 10, 1)[0][:2], [5, 5])
        self.assertEqual(container.fill("shared", 5, 1)[0][:2], [2, 3])
        pages.communicate()
        wait_for(lambda: container.held("shmpages") == 2)
        child.communicate()

    def test_1_one_program_missing(self):
        (PINS / "link_ub_pty_charge").unlink()
        found = programs(vz_bpf("status"))
        self.assertFalse(found["ub_pty_charge"]["attached"])
        self.assertIn("not loaded", found["ub_pty_charge"]["reason"])
        self.assertTrue(found["ub_pty_free"]["attached"])

    def test_2_wiped_pins(self):
        for pin in PINS.iterdir():
            pin.unlink()
        found = programs(vz_bpf("load"))
        self.assertTrue(found["ub_sock_create"]["attached"])
        container = self.container()
        self.assertEqual(container.fill("udp", 20, 1)[0][0], 20)
        self.assertEqual(container.held("numothersock"), 20)

    def test_3_full_map(self):
        """What it has no room for is counted nowhere, and that is told."""
        vz_bpf("unload", check=0)
        self.addCleanup(vz_bpf, "unload", check=0)
        PINS.mkdir(parents=True)
        path = ctypes.create_string_buffer(str(PINS / "vz_ub_sock").encode())
        fd = bpf(0, struct.pack("=5I", 1, 8, 16, 8, 1))  # BPF_MAP_CREATE: a hash of 8 entries
        bpf(6, struct.pack("=QI", ctypes.addressof(path), fd))  # BPF_OBJ_PIN
        os.close(fd)
        vz_bpf("load")
        container = self.container()
        container.limits(numothersock=15)
        (made, refused, _, _), child = container.fill("udp", 20, 1)
        self.assertEqual((made, refused), (20, 0))
        container.rows()
        self.assertEqual((container.held("numothersock"), container.uncounted), (8, 12))
        child.communicate()
        self.nothing_held(container)
        unlimited = self.container()  # gets no more than half
        _, child = unlimited.fill("udp", 20, 1)
        unlimited.rows()
        self.assertEqual((unlimited.held("numothersock"), unlimited.uncounted), (4, 16))
        self.assertEqual(container.fill("udp", 4, 1)[0][0], 4)
        self.assertEqual(container.held("numothersock"), 4)
        child.communicate()
        self.nothing_held(unlimited)

    def test_4_nothing_in_the_kernel_log(self):
        log = run(["dmesg", "--since", BEGAN], check=0).out
        bad = re.compile(r"BUG|WARNING:|Oops|general protection|hung task|blocked for more|lockdep|refcount")
        self.assertEqual([line for line in log.splitlines() if bad.search(line)], [])
        self.assertEqual(log.count("Call Trace:"), log.count("invoked oom-killer"), log)  # who is killed for want of memory


def terminals():
    return int(pathlib.Path("/proc/sys/kernel/pty/nr").read_text())


def socket_kinds_by_space(pids, space):
    """Sockets know the network that they were made in; descriptors of them may be with anybody."""
    wanted = os.stat(f"/proc/{space}/ns/net").st_ino
    found = {}
    for pid, fd, target in in_fds(pids):
        if not target.startswith("socket:") or target in found:
            continue
        process = os.pidfd_open(pid)
        copy = _libc.syscall(438, process, fd, 0)  # pidfd_getfd
        os.close(process)
        if copy < 0:
            raise OSError(ctypes.get_errno(), f"pidfd_getfd {pid} {fd}")
        try:
            found[target] = socket_kind(copy) if socket_space(copy) == wanted else None
        finally:
            os.close(copy)
    return {target: kind for target, kind in found.items() if kind is not None}


def socket_space(fd):
    space = fcntl.ioctl(fd, 0x894C)  # SIOCGSKNS
    try:
        return os.stat(f"/proc/self/fd/{space}").st_ino
    finally:
        os.close(space)


def socket_kind(fd):
    copy = socket.socket(fileno=os.dup(fd))
    family, protocol = copy.getsockopt(socket.SOL_SOCKET, 39), copy.getsockopt(socket.SOL_SOCKET, 38)
    copy.close()
    if family == socket.AF_UNIX:
        return "unix"
    return "tcp" if family in (socket.AF_INET, socket.AF_INET6) and protocol == socket.IPPROTO_TCP else "other"


if __name__ == "__main__":
    labguest.main(private=False)

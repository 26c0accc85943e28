# SPDX-License-Identifier: GPL-2.0-or-later
"""vz-bpf, its pinned maps and groups of processes, for tests in the lab. No vzctl: the programs know only cgroups."""
import ctypes
import json
import os
import pathlib
import struct
import subprocess
import time

from labguest import CGROUP, MIB, vzhost

PINS = pathlib.Path("/sys/fs/bpf/vz/1")
VZ_BPF = vzhost.BUILD / "bpf" / "vz-bpf"
UNLIMITED = (1 << 64) - 1
NO_DELAY = 1
PAGE = 4096
_SUPPORT = vzhost.SOURCE / "tests" / "support"
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    """bpf(2); attributes as bytes."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    done = _libc.syscall(321, command, buffer, 128)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def program_of(pin):
    """Id of the program of a pinned link."""
    path = ctypes.create_string_buffer(str(pin).encode())
    fd = bpf(7, struct.pack("=QI", ctypes.addressof(path), 0))
    info = ctypes.create_string_buffer(256)
    try:
        bpf(15, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))  # BPF_OBJ_GET_INFO_BY_FD
    finally:
        os.close(fd)
    return struct.unpack_from("=3I", info.raw)[2]


def counts_of_programs(name):
    found = {}
    for pin in PINS.glob("link_*"):
        fd = bpf(13, struct.pack("=I", program_of(pin)))  # BPF_PROG_GET_FD_BY_ID
        text = pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text()
        os.close(fd)
        found[pin.name[5:]] = int(text.split(f"{name}:")[1].split()[0])
    return found


def run_counts():
    """Pinned program -> how often it ran, while kernel.bpf_stats_enabled is 1."""
    return counts_of_programs("run_cnt")


def left_out():
    """Pinned program -> how often the kernel did not run it, as another one was suspended or interrupted in it."""
    return {name: count for name, count in counts_of_programs("recursion_misses").items() if count}


def program_lives(number):
    try:
        os.close(bpf(13, struct.pack("=I", number)))  # BPF_PROG_GET_FD_BY_ID
        return True
    except FileNotFoundError:
        return False


def function_id(name):
    """Of a function, in the kernel's type information."""
    data = pathlib.Path("/sys/kernel/btf/vmlinux").read_bytes()
    header, types, size, strings = struct.unpack_from("=IIII", data, 4)
    text = data.index(b"\0" + name.encode() + b"\0", header + strings) + 1 - header - strings
    wanted, at, end, number = struct.pack("=I", text), header + types, header + types + size, 0
    after = {1: (16, 0), 3: (24, 0), 4: (12, 12), 5: (12, 12), 6: (12, 8), 13: (12, 8), 14: (16, 0), 15: (12, 12), 17: (16, 0),
             19: (12, 12)}
    while at < end:
        number += 1
        kind = data[at + 7] & 31
        if kind == 12 and data[at:at + 4] == wanted:
            return number
        fixed, each = after.get(kind, (12, 0))
        at += fixed + each * (data[at + 4] | data[at + 5] << 8) if each else fixed
    raise KeyError(name)


def loads(function, attach_type, kind=26):
    """Does the kernel take a program that does nothing and returns 0, of this kind (26: tracing), for that function?"""
    code = ctypes.create_string_buffer(bytes([0xb7]) + bytes(7) + bytes([0x95]) + bytes(7))
    name = ctypes.create_string_buffer(b"GPL")
    try:
        os.close(bpf(5, struct.pack("=IIQQ44xI36xI", kind, 2, ctypes.addressof(code), ctypes.addressof(name), attach_type,
                                    function_id(function))))
        return True
    except OSError as error:
        if error.errno not in (22, 1):
            raise
        return False


def pin(fd, name):
    path = ctypes.create_string_buffer(str(PINS / name).encode())
    bpf(6, struct.pack("=QI", ctypes.addressof(path), fd))  # BPF_OBJ_PIN


def hang_on(hook):
    """A program that does nothing, on a security hook; its link."""
    code = ctypes.create_string_buffer(bytes([0xb7]) + bytes(7) + bytes([0x95]) + bytes(7))
    name = ctypes.create_string_buffer(b"GPL")
    program = bpf(5, struct.pack("=IIQQ44xI36xI", 29, 2, ctypes.addressof(code), ctypes.addressof(name), 27, hook))
    try:
        return bpf(17, struct.pack("=QI", 0, program))  # BPF_RAW_TRACEPOINT_OPEN
    finally:
        os.close(program)


class Map:
    """A pinned hash map with 64-bit keys, values as struct formats."""

    def __init__(self, name, form):
        path = ctypes.create_string_buffer(str(PINS / name).encode())
        self.form = form
        self.fd = bpf(7, struct.pack("=QI", ctypes.addressof(path), 0))

    def _element(self, command, key, value):
        key = ctypes.c_uint64(key)
        bpf(command, struct.pack("=I4xQQQ", self.fd, ctypes.addressof(key), ctypes.addressof(value) if value else 0, 0))

    def set(self, key, *values):
        self._element(2, key, ctypes.create_string_buffer(struct.pack(self.form, *values), struct.calcsize(self.form)))

    def get(self, key):
        value = ctypes.create_string_buffer(struct.calcsize(self.form))
        self._element(1, key, value)
        return struct.unpack(self.form, value.raw)

    def delete(self, key):
        try:
            self._element(3, key, None)
        except FileNotFoundError:
            pass

    def close(self):
        os.close(self.fd)


class State:
    def __init__(self, values):
        (self.tat, self.swapin, self.swapout, self.delayed_ns, self.held, self.maxheld, self.failcnt, _) = values
        self.swapped = self.swapin + self.swapout


def conf_map():
    return Map("vz_conf", "=QQQIIQ")


def state_map():
    return Map("vz_state", "=8Q")


def vz_bpf(*words, **kw):
    # A load waits for the kernel some fifty times: beside busy processes on a busy machine that took minutes.
    return vzhost.run([VZ_BPF, *words], **{"timeout": 900, **kw})


def programs(result):
    """name -> {attached, reason, object}"""
    return {program["name"]: program for program in json.loads(result.out)["programs"]}


def compile_worker(name):
    built = pathlib.Path("/tmp") / name
    if not built.exists():
        vzhost.run(["gcc", "-O2", "-pthread", "-o", built, _SUPPORT / f"{name}.c"], check=0)
    return built


def vmstat(*names):
    counts = dict(line.split() for line in pathlib.Path("/proc/vmstat").read_text().splitlines())
    return sum(int(counts[name]) for name in names)


class Group:
    """A cgroup that stands for a container, known to the programs when it has a configuration."""
    count = 0

    def __init__(self, ram=None, swap=None, parent=CGROUP):
        Group.count += 1
        self.path = parent / f"vztest{Group.count}"
        self.path.mkdir()
        self.id = self.path.stat().st_ino
        self.children = []
        self.limit(ram, swap)

    def limit(self, ram, swap):
        (self.path / "memory.max").write_text("max" if ram is None else str(ram))
        (self.path / "memory.swap.max").write_text("max" if swap is None else str(swap))

    def configure(self, rate=0, privvm=UNLIMITED, boot_ns=0, flags=0):
        state, conf = state_map(), conf_map()
        try:
            state.get(self.id)
        except FileNotFoundError:
            state.set(self.id, *[0] * 8)
        conf.set(self.id, rate, privvm, boot_ns, 1, flags, time.monotonic_ns())
        state.close()
        conf.close()

    def forget(self):
        for entries in (conf_map(), state_map()):
            entries.delete(self.id)
            entries.close()

    def state(self):
        entries = state_map()
        try:
            return State(entries.get(self.id))
        finally:
            entries.close()

    def number(self, name):
        text = (self.path / name).read_text().strip()
        return float("inf") if text == "max" else int(text)

    def spawn(self, *argv, cpus=None):
        """A process of the group, with pipes."""
        def enter():
            (self.path / "cgroup.procs").write_text("0")
            if cpus:
                os.sched_setaffinity(0, cpus)
        child = subprocess.Popen([str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 preexec_fn=enter, text=True)
        self.children.append(child)
        return child

    def reclaim(self, size):
        """By us, from outside: as vzctl does when it lowers a limit. As much as there is to take."""
        try:
            (self.path / "memory.reclaim").write_text(str(size))
        except BlockingIOError:
            pass

    def run(self, *argv, stdin=""):
        child = self.spawn(*argv)
        out, _ = child.communicate(stdin, timeout=120)
        return child.returncode, out

    def pids(self):
        return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]

    def private_pages(self):
        """What the kernel says that the processes' private memory is."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmData:"):
                    total += int(line.split()[1]) * 1024 // PAGE
        return total

    def kill(self):
        (self.path / "cgroup.kill").write_text("1")
        for child in self.children:
            child.communicate()
        self.children = []
        vzhost.wait_for(lambda: "populated 0" in (self.path / "cgroup.events").read_text(), what="an empty group")

    def remove(self):
        self.kill()
        if PINS.exists():
            self.forget()
        vzhost.wait_for(self._rmdir, what=f"the end of {self.path}")

    def _rmdir(self):
        try:
            self.path.rmdir()
            return True
        except OSError:
            return False


class Worker:
    """memory_worker in a group: filled by the time the constructor returns."""

    def __init__(self, group, megabytes, threads=1, seconds=5.0, *options, cpus=frozenset({0})):
        # On one CPU unless told otherwise: each page that reclaim takes from a process on several is an interrupt to
        # the others, and without KVM on a busy machine that takes milliseconds.
        self.process = group.spawn(compile_worker("memory_worker"), megabytes, threads, seconds, *options, cpus=cpus)
        self.address = int(self.process.stdout.readline().split()[1], 16)

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def end(self):
        """Pages per second."""
        out = self.process.stdout.read()
        if self.process.wait(timeout=60) != 0:
            raise AssertionError(f"memory_worker: status {self.process.returncode}: {out}")
        return float(out.split()[-1])


class Pacer:
    """Pages per second that the bucket alone would let through here, beside what is measured: a host with other things to do
    stops a guest for longer than the credit makes up for."""

    def __init__(self, rate, most):
        self.program, self.pages, self.speed = pathlib.Path("/tmp/pacer"), pathlib.Path("/tmp/pacer.pages"), 0
        if not self.program.exists():
            vzhost.run(["gcc", "-O2", "-o", self.program, pathlib.Path(__file__).with_name("pacer.c")], check=0)
        self.pages.unlink(missing_ok=True)
        self.process = subprocess.Popen([self.program, str(rate), str(int(1e9 / most)), self.pages],
                                        preexec_fn=lambda: os.sched_setaffinity(0, {os.cpu_count() - 1}))
        vzhost.wait_for(lambda: self.pages.exists() and self.pages.stat().st_size == 8 and self.count(), what="the pacer")

    def count(self):
        return struct.unpack("=Q", self.pages.read_bytes())[0]

    def begin(self):
        self.before, self.began = self.count(), time.monotonic()

    def end(self):
        self.speed = (self.count() - self.before) / (time.monotonic() - self.began)
        self.process.kill()
        self.process.wait()


def swap_speed(group, megabytes, threads, seconds, *options, rate, pacer=None, **kw):
    """Pages per second that one worker swaps in and out: (as the programs count, as the kernel counts).

    Measured while it runs: its start and the end of its memory are no part of it. It is let go on to its end, which
    checks every page that it touches."""
    worker = Worker(group, megabytes, threads, seconds + 1.5, *options, **kw)
    group.configure(rate=rate)
    worker.go()
    time.sleep(0.5)
    if pacer:
        pacer.begin()
    before, kernel, began = group.state().swapped, vmstat("pswpin", "pswpout"), time.monotonic()
    time.sleep(seconds)
    after, kernel_after, ended = group.state().swapped, vmstat("pswpin", "pswpout"), time.monotonic()
    if pacer:
        pacer.end()
    worker.end()
    return (after - before) / (ended - began), (kernel_after - kernel) / (ended - began)


def zero_swap_in_speed(group, threads, seconds, rate, pacer=None):
    """Like swap_speed, of zero-filled pages that madvise(2) moves in blocks: what this machine without KVM can do at high
    rates. The group is far below its limit, so that only the way in is paid for."""
    swapper = pathlib.Path("/tmp/swapper")
    if not swapper.exists():
        vzhost.run(["gcc", "-O2", "-static", "-pthread", "-o", swapper, pathlib.Path(__file__).with_name("swapper.c")], check=0)
    group.spawn(swapper, "churn", threads, 64, "zero", cpus={0})
    group.configure(rate=rate)
    time.sleep(1)
    if pacer:
        pacer.begin()
    before, kernel, began = group.state().swapin, vmstat("swpin_zero"), time.monotonic()
    time.sleep(seconds)
    after, kernel_after, ended = group.state().swapin, vmstat("swpin_zero"), time.monotonic()
    if pacer:
        pacer.end()
    group.kill()
    return (after - before) / (ended - began), (kernel_after - kernel) / (ended - began)

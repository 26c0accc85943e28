# SPDX-License-Identifier: GPL-2.0-or-later
"""A run: N machines on one network, the command's output and status, one retry of an early crash."""

import fcntl
import os
import selectors
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from . import LabError, say
from .machine import Machine
from .uml import UserModeLinux
from .share import make_share

BOOT_SECONDS = 180
LOGS_KEPT = 20


class EarlyCrash(Exception):
    """A guest ended, or stayed silent, before its init said hello."""


class RunDirectory:
    """A private directory in the cache (the same file system: build trees are hard-linked into it).

    It stays locked while its run lives; what a killed run left is removed by the next one.
    """

    def __init__(self, cache):
        runs = cache / "run"
        runs.mkdir(parents=True, exist_ok=True)
        self.remove_abandoned(runs)
        self.path = Path(tempfile.mkdtemp(dir=runs))
        self.lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    @staticmethod
    def remove_abandoned(runs):
        for path in runs.iterdir():
            try:
                fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - path.stat().st_mtime > 60:  # not one that is just being made
                    shutil.rmtree(path, ignore_errors=True)
            except (BlockingIOError, FileNotFoundError):
                pass
            finally:
                os.close(fd)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


class Lab:
    """Boots the machines and follows them to the end of the command."""

    def __init__(self, options, hardware, cache):
        self.options = options
        self.hardware = hardware
        self.cache = cache
        self.started = time.monotonic()
        self.machines = []
        self.directory = RunDirectory(cache)

    def run(self, source, build, command):
        """The command's exit status. LabError where the guest, not the command, failed."""
        share = self.directory.path / "share"
        share.mkdir()
        settings = {"VZ_LAB_NODES": self.options.nodes, "VZ_LAB_SWAP": self.options.swap,
                    **dict(self.options.env)}
        make_share(share, source, build, command, settings, self.options.nodes > 1, self.cache / "template" / "cache")
        try:
            return self.attempt(share)
        except EarlyCrash as crash:
            say(f"{crash}; trying once more")
        try:
            return self.attempt(share)
        except EarlyCrash as crash:
            raise LabError(f"{crash}, twice") from None

    def close(self):
        self.stop()
        self.directory.remove()

    def stop(self):
        for machine in self.machines:
            machine.stop()

    def attempt(self, share):
        self.stop()
        self.machines = self.make_machines(share)
        self.started = time.monotonic()
        for machine in self.machines:
            machine.start()
        try:
            return self.follow()
        finally:
            self.stop()

    def make_machines(self, share):
        kind = UserModeLinux if (self.hardware.kernel / "linux").exists() else Machine
        machines = [kind(n, self.hardware, self.directory.path, share) for n in range(1, self.options.nodes + 1)]
        first, *others = machines
        first.output = True
        for machine in others:
            ends = [end.detach() for end in socket.socketpair()]
            first.links.append(ends[0])
            machine.links.append(ends[1])
        return machines

    def follow(self):
        """Copy output until node1 ends."""
        first = self.machines[0]
        selector = selectors.DefaultSelector()
        selector.register(first.output_fd, selectors.EVENT_READ, None)
        for machine in self.machines:
            selector.register(machine.control_fd, selectors.EVENT_READ, machine)
        while first.control_fd in selector.get_map() or first.output_fd in selector.get_map():
            for key, _ in selector.select(timeout=1):
                if not self.take(key):
                    selector.unregister(key.fd)
            self.check_boot()
            self.check_time()
        if first.status is None:
            raise LabError(f"node1 ended without a status {self.first_complaint()}")
        self.note("end")
        return first.status

    def take(self, key):
        """One event; False when its pipe is at the end."""
        machine = key.data
        if machine is None:
            data = os.read(key.fd, 65536)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return bool(data)
        heard = len(machine.said)
        open_ = machine.hear()
        for line in machine.said[heard:]:
            self.note(f"node{machine.number} {line}")
        if not open_ and not machine.alive:
            raise EarlyCrash(f"node{machine.number} crashed early {self.first_complaint()}")
        if not open_ and machine.number != 1:
            say(f"node{machine.number} went down")
        return open_

    def check_boot(self):
        if time.monotonic() - self.started < BOOT_SECONDS:
            return
        for machine in self.machines:
            if not machine.alive:
                raise EarlyCrash(f"node{machine.number} said nothing for {BOOT_SECONDS} s")

    def check_time(self):
        if time.monotonic() - self.started > self.options.timeout:
            raise LabError(f"no end after {self.options.timeout:g} s (--timeout)")

    def note(self, text):
        if self.options.verbose:
            say(f"{time.monotonic() - self.started:6.2f} s {text}")

    def first_complaint(self):
        for machine in self.machines:
            if machine.complaints():
                return f"(QEMU: {machine.complaints()})"
        return ""

    def keep_consoles(self):
        """Move the console logs to where they outlive the run; their paths."""
        logs = self.cache / "log"
        logs.mkdir(exist_ok=True)
        kept = []
        for machine in self.machines:
            if machine.console.exists():
                target = logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-node{machine.number}.console"
                shutil.copyfile(machine.console, target)
                kept.append(target)
        for old in sorted(logs.iterdir())[:-LOGS_KEPT]:
            old.unlink(missing_ok=True)
        return kept

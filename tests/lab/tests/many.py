#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Many containers at once, with vz.ko and the BPF programs: all start, are listed, are told apart, stop; nothing stays.

VZ_TEST_CONTAINERS says how many (40). A guest of 2 GiB takes 200: 2 MiB each; without KVM that is a quarter of an hour.
"""
import concurrent.futures
import ctypes
import os
import pathlib
import re
import struct
import time
import unittest

import labguest
import vzbpf
import vzhost
import vzmodule
import vznetlink
from labguest import CGROUP, scope
from vzhost import run, vzctl, vzlist, wait_for

COUNT = int(os.environ.get("VZ_TEST_CONTAINERS", "40"))
RAM, SWAP = 24, 8  # MiB; each container one MiB more than the one before


def keys(entries):
    """Keys of a map of vzbpf."""
    found, key, following = set(), None, ctypes.c_uint64()
    while True:
        address = ctypes.addressof(key) if key else 0
        try:
            vzbpf.bpf(4, struct.pack("=I4xQQQ", entries.fd, address, ctypes.addressof(following), 0))
        except FileNotFoundError:
            return found
        found.add(following.value)
        key = ctypes.c_uint64(following.value)


def first_netns(function):
    """vz.ko answers in the host's network namespace only; this test has one of its own."""
    with open("/proc/self/ns/net", "rb") as own, open("/proc/1/ns/net", "rb") as host:
        os.setns(host.fileno(), os.CLONE_NEWNET)
        try:
            return function()
        finally:
            os.setns(own.fileno(), os.CLONE_NEWNET)


def entries():
    """Cgroup ids with an entry: in the registry of vz.ko, in both maps."""
    genl, maps = first_netns(vznetlink.Genl), [vzbpf.conf_map(), vzbpf.state_map()]
    try:
        return [{ct["cgroup_id"] for ct in genl.dump()}, *map(keys, maps)]
    finally:
        genl.close()
        for one in maps:
            one.close()


def leftovers():
    """What containers could leave behind, apart from their entries and private areas."""
    slice_ = CGROUP / "vz.slice"
    return {
        "groups": sorted(path.name for path in slice_.iterdir() if path.is_dir()) if slice_.exists() else [],
        "loop devices": run(["losetup", "-n", "-O", "NAME"], check=0).out.split(),
        "mounts": sorted(re.findall(r"^\S+ (\S+) ", pathlib.Path("/proc/self/mounts").read_text(), re.M)),
        "network devices": sorted(path.name for path in pathlib.Path("/sys/class/net").iterdir()),
    }


class Many(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        if not vzmodule.MODULE.exists():
            raise unittest.SkipTest(f"no {vzmodule.MODULE}: tests/lab/kmod KERNEL builds it")
        vzmodule.install()
        vzctl("vswap", "start", "--size", "256M", check=0)
        vzhost.need("bpf.vswap")
        vzhost.busybox_template()

    @classmethod
    def tearDownClass(cls):
        vzctl("vswap", "stop")

    def each(self, what, function, ids):
        """For all, as many at a time as there are CPUs; seconds that it took."""
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(function, ids))
        print(f"# {what}: {len(ids)} in {time.monotonic() - began:.1f} s", flush=True)

    def make(self, ctid):
        n = self.ids.index(ctid)
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "16M", "--ram", f"{RAM + n}M",
              "--swap", f"{SWAP + n}M", check=0)

    def wipe_rest(self):
        """Nothing, when all went well."""
        for ctid in self.listed("-a"):
            self.wipe(ctid)

    @staticmethod
    def listed(*options):
        return {int(ctid) for ctid in vzlist("-H", "-o", "ctid", *options, check=0).out.split()}

    def check_one(self, ctid):
        """Its own memory and swap: no other one has the same."""
        n = self.ids.index(ctid)
        meminfo = self.inside(ctid, "cat /proc/meminfo")
        self.assertRegex(meminfo, rf"MemTotal: +{(RAM + n) << 10} kB")
        self.assertRegex(meminfo, rf"SwapTotal: +{(SWAP + n) << 10} kB")
        self.assertIn("running", self.status(ctid))

    def test_all_run_and_nothing_stays(self):
        first = leftovers()
        self.addCleanup(self.wipe_rest)
        self.assertEqual(entries(), [set(), set(), set()])
        self.ids = [self.new_id() for _ in range(COUNT)]
        self.each("created", self.make, self.ids)
        self.each("started", lambda ctid: vzctl("start", ctid, check=0), self.ids)
        began = time.monotonic()
        self.assertEqual(self.listed(), set(self.ids))
        print(f"# vzlist: {time.monotonic() - began:.2f} s", flush=True)
        groups = {(scope(ctid) / "ct").stat().st_ino for ctid in self.ids}
        self.assertEqual(len(groups), COUNT)
        self.assertEqual(entries(), [groups] * 3)
        self.each("asked", self.check_one, self.ids)
        free = pathlib.Path("/proc/meminfo").read_text()
        print("# " + ", ".join(re.findall(r"(?:MemTotal|MemAvailable|SwapFree): +\d+ kB", free)), flush=True)
        gone, kept = self.ids[::2], self.ids[1::2]
        self.each("stopped", lambda ctid: vzctl("stop", ctid, "--fast", check=0), gone)
        groups = {(scope(ctid) / "ct").stat().st_ino for ctid in kept}
        self.assertEqual(entries(), [groups] * 3)
        self.assertEqual(self.listed(), set(kept))
        # The rest all at once, by its own init: vzd cleans up
        self.each("told to power off", lambda ctid: vzctl("exec2", ctid, "poweroff"), kept)
        wait_for(lambda: not self.listed(), timeout=120, what="the end of all")
        wait_for(lambda: entries() == [set()] * 3, timeout=60, what=f"no entries: {entries()}")
        self.each("destroyed", lambda ctid: vzctl("destroy", ctid, check=0), self.ids)
        self.assertEqual(self.listed("-a"), set())
        for name, value in leftovers().items():
            self.assertEqual(value, first[name], name)


if __name__ == "__main__":
    labguest.main()

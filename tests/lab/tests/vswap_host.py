#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual swap of the host: `vzctl vswap`, who made which device, kills at every step; what it does for containers.

Without vz.ko the mechanism is io.max on the swap devices; Zz_Module loads vz.ko and the BPF programs, where they were
built (tests/lab/kmod), and stays last because they stay loaded.

VZ_TEST_WITHOUT=device,riops,low,vzfs,rate,spared takes away: our swap device; the containers' io.max; their memory.low; the
files over /proc inside; the rate in the programs' map; that a container that is being saved does not pay. The tests must fail
then.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

import labguest
import vzbpf
import vzhost
import vzmodule
import vznetlink
from labguest import MIB, WITHOUT, events, number, scope, set_, value, vmstat
from vzhost import BIN, BUILD, run, vzctl, wait_for

RECORD = pathlib.Path("/run/vz/vswap.json")
CONTROL = pathlib.Path("/sys/class/zram-control")
MODULE = BUILD / "kmod" / os.uname().release / "vz.ko"


def vswap(*args, **kw):
    return vzctl("vswap", *args, **kw)


def status():
    return vswap("status", "--json", check=0).json()


def zrams():
    return sorted(p.name for p in pathlib.Path("/sys/block").glob("zram*"))


def swaps():
    """Path -> priority of what is on."""
    lines = pathlib.Path("/proc/swaps").read_text().splitlines()[1:]
    return {line.split()[0]: int(line.split()[4]) for line in lines}


def head(device):
    """First page, from the device itself."""
    fd = os.open(device, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.pread(fd, 4096, 0)
    finally:
        os.close(fd)


def foreign(size="64M", swap=True):
    """A zram device that somebody else made; its name."""
    device = f"/dev/zram{(CONTROL / 'hot_add').read_text().strip()}"
    if size:
        pathlib.Path("/sys/block", device[5:], "disksize").write_text(size)
        run(["mkswap", "-L", "theirs", device], check=0)
        if swap:
            run(["swapon", "-p", "5", device], check=0)
    return device


def remove_foreign(device):
    run(["swapoff", device])
    wait_for(lambda: run(["sh", "-c", f"echo {device[9:]} >{CONTROL}/hot_remove"]).rc == 0, what=f"remove {device}")


def sabotage(ctid):
    """After a start or a change of the container."""
    group = scope(ctid) / "ct"
    if "low" in WITHOUT:
        for path in (group, group.parent):
            (path / "memory.low").write_text("0")
    if "riops" in WITHOUT:
        for line in (group / "io.max").read_text().splitlines():
            (group / "io.max").write_text(f"{line.split()[0]} riops=max")
    if "vzfs" in WITHOUT:
        first = min(int(pid) for file in group.rglob("cgroup.procs") for pid in file.read_text().split())
        run(["nsenter", "-t", first, "-m", "umount", "/proc/meminfo"], check=0)
    if "rate" in WITHOUT and vzbpf.PINS.exists():
        conf, since = vzbpf.conf_map(), time.monotonic_ns()
        try:
            _, *rest, _ = conf.get(group.stat().st_ino)
            conf.set(group.stat().st_ino, 0, *rest, since)
        finally:
            conf.close()


def change(ctid, *options, **kw):
    done = set_(ctid, *options, **kw)
    sabotage(ctid)
    return done


class VswapTest(vzhost.HostTest):
    def setUp(self):
        run(["modprobe", "zram", "num_devices=0"])
        self.before = (zrams(), swaps())
        self.addCleanup(lambda: vswap("stop"))

    def start(self, *options, **kw):
        ctid = super().start(*options, **kw)
        sabotage(ctid)
        return ctid

    def foreign(self, *args, **kw):
        device = foreign(*args, **kw)
        self.addCleanup(remove_foreign, device)
        return device


class Device(VswapTest):
    def test_start_status_stop(self):
        self.assertEqual(status()["state"], "off")
        made = vswap("start", "--size", "256M", "--json", check=0).json()
        self.assertEqual((made["state"], made["bytes"], made["host_swap"]), ("on", 256 * MIB, "vz"))
        self.assertIn(made["device"], swaps())
        self.assertEqual(max(swaps().values()), made["priority"], "before every other swap")
        self.assertEqual(run(["blkid", "-p", "-s", "LABEL", "-o", "value", made["device"]], check=0).out.strip(), "vz-vswap")
        self.assertIn("made by vzctl", vzhost.feature("vswap.device")["detail"])
        again = vswap("start", "--json", check=0).json()
        self.assertEqual((again["device"], again["bytes"]), (made["device"], 256 * MIB), "a second start changes nothing")
        self.assertRegex(vswap("status", check=0).out, r"Virtual swap: +on\n")
        vswap("stop", check=0)
        self.assertEqual((zrams(), swaps()), self.before)
        self.assertFalse(RECORD.exists())
        self.assertRc(vswap("stop"), 0)

    def test_size_follows_from_what_is_promised(self):
        ram = int(re.search(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024
        self.assertEqual(vswap("start", "--json", check=0).json()["bytes"], ram // 2 // 4096 * 4096)
        vswap("stop", check=0)
        self.create("--ram", "64M", "--swap", f"{ram // MIB}M")
        made = vswap("start", "--json", check=0).json()
        self.assertEqual(made["bytes"], made["promised"])
        self.assertEqual(made["promised"], ram // MIB * MIB)

    def test_bad_input_is_refused(self):
        for args in (["start", "--size", "12X"], ["start", "--size", "-1"], ["start", "--size", "1"], ["start", "--size", "0"],
                     ["start", "--size", "100P"], ["stop", "--size", "1G"], ["begin"], [], ["start", "stop"],
                     ["start", "--backing", "/nonexistent"]):
            with self.subTest(args=args):
                refused = vswap(*args)
                self.assertNotEqual(refused.rc, 0, repr(refused))
                self.assertEqual((zrams(), swaps()), self.before)

    def test_a_compressor_that_is_not_there(self):
        conf = pathlib.Path("/etc/vz/vz.conf")
        old = conf.read_text()
        self.addCleanup(conf.write_text, old)
        conf.write_text(old + '\nVSWAP_COMPRESSOR="squeeze"\n')
        refused = vswap("start")
        self.assertNotEqual(refused.rc, 0)
        self.assertIn("squeeze", refused.err)
        self.assertEqual((zrams(), swaps()), self.before)

    def test_a_bad_record_is_no_licence(self):
        for text in ("", "{}", '{"version":2}'):
            RECORD.write_text(text)
            self.assertNotEqual(vswap("start").rc, 0)
            self.assertNotEqual(vswap("stop").rc, 0)
            self.assertEqual((zrams(), swaps()), self.before)
        RECORD.unlink()


class Foreign(VswapTest):
    def test_devices_of_others_stay_as_they_are(self):
        theirs, empty = self.foreign(), self.foreign(size="")
        page = head(theirs)
        made = vswap("start", "--size", "128M", "--json", check=0).json()
        self.assertNotIn(made["device"], (theirs, empty))
        vswap("stop", check=0)
        self.assertIn(theirs, swaps())
        self.assertEqual(head(theirs), page)
        self.assertEqual(pathlib.Path("/sys/block", empty[5:], "disksize").read_text().strip(), "0")

    def test_a_number_that_was_given_away(self):
        """Our device went, the kernel gave its number to somebody else: the record names nothing any more."""
        made = vswap("start", "--size", "128M", "--json", check=0).json()["device"]
        remove_foreign(made)
        theirs = self.foreign()
        self.assertEqual(theirs, made)
        page = head(theirs)
        self.assertEqual(status()["state"], "off")
        self.assertRc(vswap("stop"), 0)
        self.assertIn(theirs, swaps())
        self.assertEqual(head(theirs), page)
        ours = vswap("start", "--size", "128M", "--json", check=0).json()["device"]
        self.assertNotEqual(ours, theirs)
        self.assertEqual(head(theirs), page)

    def test_our_device_in_other_hands(self):
        made = vswap("start", "--size", "128M", "--json", check=0).json()["device"]
        run(["swapoff", made], check=0)
        run(["mkswap", "-L", "theirs", made], check=0)
        run(["swapon", made], check=0)
        self.addCleanup(remove_foreign, made)
        page = head(made)
        for verb in ("start", "stop", "status"):
            refused = vswap(verb)
            self.assertNotEqual(refused.rc, 0, verb)
            self.assertIn("holds something else", refused.err)
        self.assertIn(made, swaps())
        self.assertEqual(head(made), page)
        RECORD.unlink()


class Faults(VswapTest):
    def steps(self, *args):
        with tempfile.NamedTemporaryFile("r") as trace:
            vswap(*args, env={"VZ_FAULT_TRACE": trace.name}, check=0)
            return trace.read().split()

    def kill_at(self, step, *args):
        killed = vswap(*args, env={"VZ_FAULT": step})
        self.assertEqual(killed.rc, -signal.SIGKILL, f"{step} was not reached: {killed}")

    def test_start_goes_on_from_every_step(self):
        steps = self.steps("start", "--size", "64M")
        vswap("stop", check=0)
        self.assertGreaterEqual(set(steps), {"vswap.add", "vswap.size", "vswap.format", "vswap.on"})
        for step in steps:
            with self.subTest(step=step):
                self.kill_at(step, "start", "--size", "64M")
                status()
                made = vswap("start", "--size", "64M", "--json", check=0).json()
                self.assertEqual((made["state"], made["bytes"]), ("on", 64 * MIB))
                self.assertEqual(len(zrams()), len(self.before[0]) + 1)
                vswap("stop", check=0)
                self.assertEqual((zrams(), swaps()), self.before)

    def test_stop_takes_away_what_a_killed_start_left(self):
        for step in ("vswap.add", "vswap.size", "vswap.format", "vswap.on", "vswap.done"):
            with self.subTest(step=step):
                self.kill_at(step, "start", "--size", "64M")
                vswap("stop", check=0)
                self.assertEqual((zrams(), swaps()), self.before)

    def test_stop_goes_on_from_every_step(self):
        vswap("start", "--size", "64M", check=0)
        steps = self.steps("stop")
        self.assertGreaterEqual(set(steps), {"vswap.off", "vswap.remove", "vswap.forget"})
        for step in steps:
            with self.subTest(step=step):
                vswap("start", "--size", "64M", check=0)
                self.kill_at(step, "stop")
                vswap("stop", check=0)
                self.assertEqual((zrams(), swaps()), self.before)
                self.assertFalse(RECORD.exists())


class Containers(VswapTest):
    def setUp(self):
        super().setUp()
        # Nothing but ours: what else is on takes the pages, and the test would measure that.
        for device in self.before[1]:
            run(["swapoff", device], check=0)
            # from a mount namespace that ends, /proc/swaps would have no path of it
            self.addCleanup(run, ["nsenter", "-t", "1", "-m", "swapon", "-p", self.before[1][device], device])
        if "device" not in WITHOUT:
            vswap("start", "--size", "512M", check=0)

    def fill(self, ctid, megabytes):
        vzctl("exec2", ctid, "mkdir -p /m; grep -q ' /m ' /proc/mounts || mount -t tmpfs -o size=1g none /m; "
                             f"dd if=/dev/urandom of=/m/data bs=1M count={megabytes} 2>/dev/null", check=0)

    def read_seconds(self, ctid):
        """Seconds and pages of swap-in that one pass over the data takes."""
        began, pages = time.monotonic(), vmstat("pswpin")
        self.inside(ctid, "cat /m/data >/dev/null", timeout=600)
        return time.monotonic() - began, vmstat("pswpin") - pages

    def disk_swap(self):
        """A swap on a disk, after ours in priority; its name in /sys/block."""
        disk = pathlib.Path("/dev/vdb").resolve()
        if not disk.exists():
            self.skipTest("needs a disk: tests/lab/run --disks 1")
        run(["mkswap", disk], check=0)
        run(["swapon", "-p", "1", disk], check=0)
        self.addCleanup(run, ["swapoff", disk])
        return disk.name

    @staticmethod
    def swap_used(device):
        """Bytes of a swap area that are in use."""
        lines = pathlib.Path("/proc/swaps").read_text().splitlines()[1:]
        return sum(int(line.split()[3]) << 10 for line in lines if line.split()[0] == device)

    def test_over_ram_pages_go_to_compressed_ram_and_to_no_disk(self):
        """Of a host that has a swap disk, too, and is not short of memory."""
        disk = self.disk_swap()
        written = lambda: int(pathlib.Path("/sys/block", disk, "stat").read_text().split()[6]) * 512  # noqa: E731
        ctid = self.start("--ram", "32M", "--swap", "128M", "--vswap-rate", "0")
        before = written()
        self.inside(ctid, "mkdir -p /m; mount -t tmpfs -o size=1g none /m; "
                          f"yes 'compresses well' | head -c {96 * MIB} >/m/data; cat /m/data >/dev/null")
        self.assertGreater(number(ctid, "memory.swap.current"), 48 * MIB)
        self.assertEqual(self.swap_used(f"/dev/{disk}") >> 12, 0, "pages on the disk")
        self.assertLess(written() - before, MIB)
        made = status()
        self.assertGreater(self.swap_used(made["device"]), 48 * MIB)
        print(f"# {self.swap_used(made['device']) / MIB:.0f} MiB swapped take {made['ram'] / MIB:.1f} MiB of RAM", flush=True)
        self.assertLess(made["ram"], self.swap_used(made["device"]) / 4)
        self.assertEqual(events(ctid)["oom_kill"], 0)

    def test_swap_without_anything_to_swap_to_is_said(self):
        """The container starts, the limit is kept for when there is a swap; until then R is the end."""
        vswap("stop", check=0)
        ctid = self.create("--ram", "48M", "--swap", "64M")
        started = vzctl("start", ctid, check=0)
        self.assertRegex(started.out + started.err, r"no swap device.*`vzctl vswap start`")
        self.assertEqual(number(ctid, "memory.swap.max"), 64 * MIB)
        self.assertNotEqual(vzctl("exec2", ctid, "dd if=/dev/urandom of=/dev/null bs=80M count=1").rc, 0)
        self.assertEqual(events(ctid)["oom_kill"], 1)
        vswap("start", "--size", "256M", check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/dev/null bs=80M count=1")
        self.assertEqual(events(ctid)["oom_kill"], 1)

    def test_stop_is_refused_while_it_holds_what_fits_nowhere(self):
        ctid = self.start("--ram", "32M", "--swap", "128M")
        self.fill(ctid, 96)
        before = self.inside(ctid, "md5sum /m/data")
        refused = vswap("stop")
        self.assertRc(refused, 6)
        self.assertIn(f"container {ctid}", refused.err)
        self.assertEqual(status()["state"], "on")
        self.assertEqual(events(ctid)["oom_kill"], 0)
        self.assertEqual(self.inside(ctid, "md5sum /m/data"), before)
        set_(ctid, "--ram", "192M", "--swap", "128M", check=0)
        vswap("stop", check=0)
        self.assertEqual(self.inside(ctid, "md5sum /m/data"), before)
        self.assertEqual(events(ctid)["oom_kill"], 0)

    def test_without_the_module_io_max_slows_the_container_down(self):
        if status()["mechanism"] != "riops":
            self.skipTest(f"mechanism here: {status()['mechanism']}")
        ctid = self.start("--ram", "32M", "--swap", "128M", "--vswap-rate", "0")
        self.assertNotIn("riops=", value(ctid, "io.max"))
        self.fill(ctid, 80)
        free, pages = self.read_seconds(ctid)
        rate = int(min(2000, pages / free / 3))  # however slow this machine is just now, unlimited it is faster than that
        change(ctid, "--vswap-rate", str(rate), check=0)
        self.assertRegex(value(ctid, "io.max"), rf"riops={rate}\b")
        slow, pages = self.read_seconds(ctid)
        print(f"# unlimited {free:.2f} s; at {rate} reads/s {slow:.2f} s for {pages} pages: {pages / slow:.0f} pages/s")
        self.assertGreater(pages, 8000)
        self.assertLess(pages / slow, rate * 1.1)
        self.assertIn("riops", vzhost.feature("vswap.mechanism")["detail"])
        set_(ctid, "--vswap-rate", "0", check=0)
        self.assertNotIn("riops=", value(ctid, "io.max"))

    def test_swap_that_comes_after_the_container(self):
        vswap("stop", check=0)
        ctid = self.start("--ram", "32M", "--swap", "128M", "--vswap-rate", "3000")
        if status()["mechanism"] in ("module", "kernel"):
            self.skipTest("not by io.max")
        self.assertNotIn("riops=", value(ctid, "io.max"))
        vswap("start", "--size", "256M", check=0)
        self.assertRegex(value(ctid, "io.max"), r"riops=3000\b")

    def test_rates_that_make_no_sense(self):
        for rate in ("-1", "10000001", "1.5", "x", "", "99999999999999999999"):
            refused = vzctl("create", self.new_id(), "--ostemplate", vzhost.busybox_template(), "--vswap-rate", rate)
            self.assertIn(refused.rc, (20, 21), f"{rate}: {refused}")

    def test_a_container_is_spared_half_of_its_ram(self):
        ctid = self.start("--ram", "64M", "--swap", "64M")
        self.assertEqual(number(ctid, "memory.low"), 32 * MIB)
        set_(ctid, "--oomguarpages", "40M", check=0)
        self.assertEqual(number(ctid, "memory.low"), 40 * MIB)
        self.assertEqual((scope(ctid) / "memory.low").read_text().strip(), str(40 * MIB), "no more, or all are spared alike")
        self.assertNotEqual((scope(ctid).parent / "memory.low").read_text().strip(), "0")

    def test_cutting_swap_that_is_in_use_says_why_not(self):
        ctid = self.start("--ram", "32M", "--swap", "128M")
        self.fill(ctid, 80)
        refused = set_(ctid, "--ram", "256M", "--swap", "0")
        self.assertNotEqual(refused.rc, 0)
        self.assertRegex(refused.err, r"only when they are used")
        self.assertRegex(refused.err, r"--swap \d+M fits now")
        self.assertEqual((number(ctid, "memory.max"), number(ctid, "memory.swap.max")), (32 * MIB, 128 * MIB))


def stop_vzd():
    """The one that earlier tests started on demand."""
    pid = vzhost.stop_vzd()
    wait_for(lambda: pid is None or not pathlib.Path("/proc", str(pid)).exists(), what="the end of vzd")
    pathlib.Path("/run/vz/vzd.sock").unlink(missing_ok=True)


class OomTest(VswapTest):
    def vzd(self):
        """One of our own; what it says."""
        stop_vzd()
        log = tempfile.NamedTemporaryFile("w")
        self.addCleanup(log.close)
        vzd = subprocess.Popen([BIN / "vzd", "-v"],
                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(vzd.wait)
        self.addCleanup(vzd.terminate)
        wait_for(lambda: pathlib.Path("/run/vz/vzd.sock").exists(), what="vzd")
        return pathlib.Path(log.name).read_text

    def monitor(self):
        """`vzctl monitor --json` that has begun to watch; its lines so far."""
        out, err = (tempfile.NamedTemporaryFile("w") for _ in range(2))
        # An interval that is longer than the test: what is told, the kernel told.
        watch = subprocess.Popen([BIN / "vzctl", "monitor", "--json", "--interval", "3600"],
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        for file in (out, err):
            self.addCleanup(file.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        wait_for(lambda: any("inotify wd:" in info for _, info in vzhost.descriptors(watch.pid)), what="a watch of memory.events")
        self.assertIsNone(watch.poll(), pathlib.Path(err.name).read_text())
        return lambda: [json.loads(line) for line in pathlib.Path(out.name).read_text().splitlines()]

    def eat(self, ctid, megabytes=200):
        """Kills of the container that one program too large led to."""
        before = events(ctid)["oom_kill"]
        self.assertNotEqual(vzctl("exec2", ctid, f"dd if=/dev/urandom of=/dev/null bs={megabytes}M count=1").rc, 0)
        killed = events(ctid)["oom_kill"] - before
        self.assertGreater(killed, 0)
        return killed

    def line(self, said, ctid):
        return wait_for(lambda: re.search(rf"CT {ctid}: out of memory: killed process (\d+) \(dd\).*", said()), what="vzd's line")[0]

    @staticmethod
    def told(lines, ctid):
        """What the monitor told of kills: how many, and the texts."""
        kills = [event for event in lines() if (event["ctid"], event["event"]) == (ctid, "oom_kill")]
        return sum(event["count"] for event in kills), [event["text"] for event in kills]


class Oom(OomTest):
    def test_count_survives_a_restart_and_vzd_says_who(self):
        said = self.vzd()
        ctid = self.start("--ram", "48M", "--swap", "0")
        lines = self.monitor()
        killed = self.eat(ctid)
        self.assertRegex(self.line(said, ctid), r"of 48 MiB RAM")
        wait_for(lambda: self.told(lines, ctid)[0] == killed, what=f"{killed} kills in {lines()}")
        vzctl("restart", ctid, "--fast", check=0)
        self.assertEqual(events(ctid)["oom_kill"], 0)
        self.assertEqual(int(pathlib.Path(f"/run/vz/oom/{ctid}").read_text()), killed)


class Refused(VswapTest):
    def test_programs_that_cannot_be_loaded_are_named_and_the_next_best_is_used(self):
        if pathlib.Path("/sys/kernel/btf/vmlinux").exists():
            self.skipTest("this kernel has BTF; lab/vswap locks it down instead")
        loaded = run([BUILD / "bpf" / "vz-bpf", "load"])
        self.assertNotEqual(loaded.rc, 0)
        self.assertIn("BTF", loaded.out + loaded.err)
        started = vswap("start", "--size", "64M", check=0)
        self.assertRegex(started.err, r"no vz\.ko|no BPF programs")
        self.assertIn(status()["mechanism"], ("kernel", "riops"))
        self.assertIn("no /sys/kernel/btf/vmlinux", vzhost.feature("bpf.lsm")["detail"])

    def test_private_memory_needs_its_program(self):
        if vzhost.feature("bpf.privvm")["present"]:
            self.skipTest("the programs are loaded")
        ctid = self.create("--ram", "64M", "--swap", "64M", "--vm_overcommit", "1.5")
        refused = vzctl("start", ctid)
        self.assertNotEqual(refused.rc, 0)
        self.assertIn("VM_OVERCOMMIT", refused.err)
        vzctl("start", ctid, "--force", check=0)

    def test_create_refuses_what_no_start_could_do(self):
        for options in (("--numproc", "0"), ("--cpumask", "4000"), ("--numproc", "0:0")):
            refused = vzctl("create", self.new_id(), "--ostemplate", vzhost.busybox_template(), *options)
            self.assertEqual(refused.rc, 21, repr(refused))


def mechanism():
    """With module and programs loaded: a patched kernel comes first."""
    return "kernel" if list(labguest.CGROUP.glob("*/memory.swap.delay")) else "module"


class Zy_Late(VswapTest):
    """Before anything has loaded the module."""

    def test_a_module_of_another_version_is_not_used(self):
        """vzctl says which versions they are, and does without."""
        other = MODULE.with_name("vz-abi99.ko")
        if not other.exists():
            self.skipTest(f"no {other}: tests/lab/kmod KERNEL builds it")
        if pathlib.Path("/sys/module/vz").exists():
            self.skipTest("the module is loaded already")
        run(["insmod", other], check=0)
        self.addCleanup(run, ["rmmod", "vz"], check=0)
        row = vzhost.feature("vz.module")
        self.assertFalse(row["present"])
        self.assertRegex(row["detail"], r"vz\.ko .* speaks ABI 99, this vz speaks 1")
        self.assertNotEqual(status()["mechanism"], "module")
        started = vzctl("start", self.create("--ram", "32M", "--swap", "32M"), check=0)
        self.assertRegex(started.out + started.err, r"speaks ABI 99.*going on without it")

    def test_module_that_comes_after_the_container(self):
        if not MODULE.exists():
            self.skipTest(f"no {MODULE}: tests/lab/kmod KERNEL builds it")
        if pathlib.Path("/sys/module/vz").exists() or mechanism() == "kernel":
            self.skipTest("the module is loaded already, or of no use")
        ctid = self.start("--ram", "32M", "--swap", "128M", "--vswap-rate", "1000")
        self.assertNotEqual(status()["mechanism"], "module")
        vzmodule.install()
        vswap("start", "--size", "256M", check=0)
        self.assertEqual(status()["mechanism"], "module")
        self.assertNotIn("riops=", value(ctid, "io.max"))
        conf = vzbpf.conf_map()
        self.addCleanup(conf.close)
        self.assertEqual(conf.get((scope(ctid) / "ct").stat().st_ino)[0], 1000)
        vzctl("exec2", ctid, "mkdir -p /m; mount -t tmpfs none /m; dd if=/dev/urandom of=/m/data bs=4k count=10240 2>/dev/null",
              check=0, timeout=600)
        began, pages = time.monotonic(), vmstat("pswpin") + vmstat("pswpout")
        self.inside(ctid, "dd if=/m/data of=/dev/null bs=4k 2>/dev/null", timeout=600)
        pages = vmstat("pswpin") + vmstat("pswpout") - pages
        self.assertGreater(pages, 4000)
        self.assertLess(pages / (time.monotonic() - began), 1000 * 1.15)


class Zz_Module(OomTest):
    @classmethod
    def setUpClass(cls):
        if not MODULE.exists():
            raise unittest.SkipTest(f"no {MODULE}: tests/lab/kmod KERNEL builds it")
        if not pathlib.Path("/sys/module/vz").exists():
            run(["insmod", MODULE], check=0)

    def setUp(self):
        super().setUp()
        if "device" not in WITHOUT:
            vswap("start", "--size", "512M", check=0)

    def test_rows(self):
        self.assertIn("ABI", vzhost.feature("vz.module")["detail"])
        for row in ("bpf.vswap", "bpf.privvm", "vswap.mechanism", "vswap.device"):
            self.assertTrue(vzhost.feature(row)["present"], vzhost.feature(row))
        self.assertEqual(status()["mechanism"], mechanism())

    def test_files_of_proc_are_the_containers(self):
        ctid = self.start("--ram", "64M", "--swap", "96M")
        meminfo = self.inside(ctid, "cat /proc/meminfo")
        self.assertRegex(meminfo, r"MemTotal: +65536 kB")
        self.assertRegex(meminfo, r"SwapTotal: +98304 kB")
        self.assertLess(float(self.inside(ctid, "cat /proc/uptime").split()[0]), 120)
        self.assertIn("vzfs /proc/meminfo ", self.inside(ctid, "cat /proc/mounts").replace("none /proc", "vzfs /proc"))
        self.assertNotIn("/dev/.proc", self.inside(ctid, "cat /proc/mounts; ls -a /dev"))

    def test_oom_of_a_container_is_told_by_the_module(self):
        """Its own limit, and one above it: who was killed, and whose fault it was. Another container hears nothing."""
        said = self.vzd()
        ctid, other = (self.start("--ram", "48M", "--swap", "0") for _ in range(2))
        lines = self.monitor()
        killed = self.eat(ctid)
        own = self.line(said, ctid)
        self.assertRegex(own, r"\(dd\), which had \d+ MiB of RAM.*the container uses \d+ MiB of 48 MiB RAM, \d+ MiB of 0 MiB swap")
        self.assertNotIn("the host itself", own)
        wait_for(lambda: self.told(lines, ctid)[0] == killed, what=f"{killed} kills in {lines()}")
        self.assertEqual(len(self.told(lines, ctid)[1]), killed, "one line each")
        self.assertIn(self.told(lines, ctid)[1][0], said(), "both say the same")
        self.assertEqual(self.told(lines, other), (0, []))
        if labguest.SYSTEMD:
            return  # vz.slice is systemd's
        above = labguest.CGROUP / "vz.slice"
        set_(ctid, "--ram", "512M", "--swap", "0", check=0)
        for name in ("memory.max", "memory.swap.max"):
            self.addCleanup((above / name).write_text, (above / name).read_text())
        (above / "memory.swap.max").write_text("0")
        (above / "memory.max").write_text(str(96 * MIB))
        killed += self.eat(ctid, 300)
        wait_for(lambda: "the host itself ran short" in said(), what="vzd's line")
        wait_for(lambda: self.told(lines, ctid)[0] == killed, what=f"{killed} kills in {lines()}")
        self.assertIn("the host itself ran short", self.told(lines, ctid)[1][-1])

    def test_private_memory_is_bounded(self):
        ctid = self.start("--ram", "64M", "--swap", "64M", "--vm_overcommit", "1")
        refused = vzctl("exec2", ctid, "dd if=/dev/zero of=/dev/null bs=300M count=1 2>&1")
        self.assertNotEqual(refused.rc, 0)
        self.assertEqual(events(ctid)["oom_kill"], 0, "ENOMEM, never a kill")
        set_(ctid, "--vm_overcommit", "8", check=0)
        self.inside(ctid, "dd if=/dev/zero of=/dev/null bs=100M count=1 2>&1")

    def test_rate_is_kept_and_follows_set(self):
        # Page by page: a task waits when it returns to user mode, at most 2 s, whatever one system call has read.
        read = "dd if=/m/data of=/dev/null bs=4k 2>/dev/null"
        self.assertEqual(status()["mechanism"], mechanism())
        ctid = self.start("--ram", "32M", "--swap", "128M", "--vswap-rate", "0")
        vzctl("exec2", ctid, "mkdir -p /m; mount -t tmpfs none /m; dd if=/dev/urandom of=/m/data bs=1M count=40 2>/dev/null",
              check=0)
        change(ctid, "--vswap-rate", "1000", check=0)
        began, pages = time.monotonic(), vmstat("pswpin") + vmstat("pswpout")
        self.inside(ctid, read, timeout=600)
        slow, pages = time.monotonic() - began, vmstat("pswpin") + vmstat("pswpout") - pages
        print(f"# module at 1000 pages/s: {pages} pages in {slow:.2f} s")
        self.assertGreater(pages, 4000)
        self.assertLess(pages / slow, 1000 * 1.15)
        set_(ctid, "--vswap-rate", "0", check=0)
        began = time.monotonic()
        self.inside(ctid, read, timeout=600)
        self.assertLess(time.monotonic() - began, slow / 1.5)

    def thrashing(self, rate):
        """A container of 32 MiB with a program that touches 64 at random, at that rate."""
        program = pathlib.Path("/tmp/memory_worker.static")
        run(["gcc", "-O2", "-static", "-pthread", "-o", program, vzhost.SOURCE / "tests" / "support" / "memory_worker.c"], check=0)
        ctid = self.start("--ram", "32M", "--swap", "160M", "--vswap-rate", "0", "--diskspace", "64M")
        vzctl("exec2", ctid, "cat >/worker; chmod 755 /worker", stdin=program.read_bytes(), check=0)
        self.inside(ctid, "setsid /worker 64 2 3600 </dev/null >/said 2>&1 &")
        wait_for(lambda: self.inside(ctid, "cat /said").startswith("ready"), 120, "the worker")
        set_(ctid, "--vswap-rate", rate, check=0)
        return ctid

    @staticmethod
    def paid(ctid):
        """What the programs count for the container."""
        entries = vzbpf.state_map()
        try:
            return vzbpf.State(entries.get((scope(ctid) / "ct").stat().st_ino))
        finally:
            entries.close()

    @staticmethod
    def pay_again(ctid):
        """Behind vz's back: what its checkpoint switched off, at a rate that lets the test end."""
        conf, group = vzbpf.conf_map(), (scope(ctid) / "ct").stat().st_ino
        try:
            values = list(conf.get(group))
            values[0], values[4] = 1000, values[4] & ~vzbpf.NO_DELAY
            conf.set(group, *values)
        finally:
            conf.close()
        with open("/proc/self/ns/net", "rb") as own, open("/proc/1/ns/net", "rb") as host:
            os.setns(host.fileno())  # vz.ko's family is nowhere else
            try:
                genl = vznetlink.Genl()
            finally:
                os.setns(own.fileno())
        genl.do(vznetlink.SET, cgroup_id=group, flags=0)
        genl.close()

    def test_a_checkpoint_pays_nothing(self):
        """CRIU lets the container's tasks read their own pages back in: at this rate it would take minutes."""
        vzhost.need("criu")
        rate = 50
        ctid = self.thrashing(rate)
        wait_for(lambda: self.paid(ctid).delayed_ns > 1e9, what="somebody who pays")
        began = time.monotonic()
        vzctl("chkpnt", ctid, "--suspend", check=0)
        frozen = time.monotonic() - began
        if "spared" in WITHOUT:
            self.pay_again(ctid)
        before, began = self.paid(ctid), time.monotonic()
        with tempfile.TemporaryDirectory(dir="/var/lib/vz") as work:
            vzctl("chkpnt", ctid, "--dump", "--dumpfile", f"{work}/dump", check=0, timeout=1200)
            passed, after = time.monotonic() - began, self.paid(ctid)
            vzctl("chkpnt", ctid, "--resume", check=0)
        pages = after.swapin - before.swapin
        print(f"# at {rate} pages/s: frozen in {frozen:.1f} s, {pages} pages read back, saved in {passed:.1f} s, without a price")
        self.assertGreater(pages, 4000)
        self.assertEqual(after.delayed_ns - before.delayed_ns, 0, "nanoseconds that the container's tasks owe")
        self.assertLess(passed, pages / rate / 2, "half of what those pages cost")
        wait_for(lambda: self.paid(ctid).delayed_ns > after.delayed_ns + 1e9, 60, "somebody who pays again")

    def test_suspend_and_restore_take_the_time_that_they_take_without_a_rate(self):
        vzhost.need("criu")
        ctid, took = self.thrashing(0), {}
        for rate in (0, 50):
            set_(ctid, "--vswap-rate", rate, check=0)
            time.sleep(2)  # thrashing at that rate
            for command in ("chkpnt", "restore"):
                began = time.monotonic()
                vzctl(command, ctid, check=0, timeout=1200)
                took[command, rate] = time.monotonic() - began
        print("# " + ", ".join(f"{command} at {rate or 'any'} pages/s: {seconds:.1f} s" for (command, rate), seconds in took.items()))
        # more than 8 000 pages come in, and as many go out: 160 s each at this rate
        for command in ("chkpnt", "restore"):
            self.assertLess(took[command, 50], took[command, 0] + 80)
        self.assertRegex(self.inside(ctid, "cat /said"), r"^ready \S+\n$")  # a wrong page would have ended it

    def test_entries_come_and_go(self):
        ctid = self.start("--ram", "64M", "--swap", "64M")
        maps = lambda: run([BUILD / "bpf" / "vz-bpf", "status"]).out  # noqa: E731
        self.assertIn("vswap_in", maps())
        vzctl("stop", ctid, "--fast", check=0)
        # A container that dies with vzd and vzctl away leaves entries; the next start takes them out.
        self.assertRc(vzctl("start", ctid), 0)


if __name__ == "__main__":
    labguest.main()

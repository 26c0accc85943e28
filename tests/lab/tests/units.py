#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed project on a systemd host: vzd.service and vz.service start containers in order and stop them,
vz-vswap.service brings virtual swap up and takes it down.
"""
import pathlib
import re
import unittest

import labguest
import vzhost
import vzmodule
from labguest import MIB, SYSTEMD, events, scope
from vzhost import run, wait_for

ORDER = pathlib.Path("/run/vz-order")
# id: BOOTORDER, ONBOOT; higher orders first, then lower ids
BOX = {301: ("5", "yes"), 302: ("20", "yes"), 303: ("", "yes"), 304: ("20", "yes"), 305: ("30", "no")}
STARTED = ["302", "304", "301", "303"]


def systemctl(*args, **kw):
    return run(["systemctl", *args], **kw)


def setUpModule():
    if not SYSTEMD:
        raise unittest.SkipTest("needs --systemd")
    labguest.install('VE_PARALLEL="1"')
    for name in ("premount", "umount"):
        script = pathlib.Path(f"/etc/vz/conf/vps.{name}")
        script.write_text(f"#!/bin/sh\necho {name} $VEID >> {ORDER}\n")
        script.chmod(0o755)
    vzhost.busybox_template()
    for ctid, (order, onboot) in BOX.items():
        vz("create", ctid, "--ostemplate", "busybox", "--diskspace", "32M", check=0)
        vz("set", ctid, "--onboot", onboot, *(("--bootorder", order) if order else ()), "--save", check=0)


def tearDownModule():
    if SYSTEMD:
        systemctl("stop", "vz.service", "vzd.service")
        for ctid in BOX:
            vz("stop", ctid, "--fast")
            vz("destroy", ctid)


def vz(*args, **kw):
    """The installed vzctl, found by PATH as an admin would."""
    return run(["vzctl", *args], **kw)


def order(word):
    return [line.split()[1] for line in ORDER.read_text().splitlines() if line.startswith(word)] if ORDER.exists() else []


class Units(unittest.TestCase):
    def setUp(self):
        ORDER.unlink(missing_ok=True)

    def running(self):
        return run(["vzlist", "-H", "-o", "ctid"]).out.split()

    def test_units_are_correct(self):
        units = [f"/usr/local/lib/systemd/system/{name}.service" for name in ("vz", "vzd", "vz-vswap")]
        checked = run(["systemd-analyze", "verify", "--man=no", *units])
        self.assertEqual((checked.rc, checked.err), (0, ""))
        systemctl("enable", "vz.service", "vzd.service", check=0)
        self.assertEqual(systemctl("is-enabled", "vz.service", check=0).out.strip(), "enabled")

    def test_boot_and_shutdown(self):
        systemctl("start", "vz.service", check=0, timeout=180)
        self.assertEqual(systemctl("is-active", "vz.service", "vzd.service", "vz-vswap.service").out.split(), ["active"] * 3)
        self.assertEqual(order("premount"), STARTED)
        self.assertEqual(sorted(self.running()), sorted(STARTED))
        for ctid in STARTED:
            self.assertTrue(scope(ctid).is_dir())
        self.check_journal("vz.service", r"4 of 4 containers started")
        # both in one transaction, as at shutdown: the scopes wait for vz.service
        systemctl("stop", "vz.service", *(f"vz-{ctid}.scope" for ctid in STARTED), check=0, timeout=300)
        self.assertEqual(order("umount"), STARTED[::-1], "stopped by vz.service, not by their scopes")
        self.assertEqual(self.running(), [])
        self.check_journal("vz.service", r"4 of 4 containers stopped")
        self.assertNotIn("Killing", self.journal("vz.service"))

    def journal(self, unit):
        return run(["journalctl", "--no-pager", "-b", "-o", "cat", "-u", unit], check=0).out

    def check_journal(self, unit, pattern):
        """Readable: the closing line is there; no control characters, no progress bars."""
        text = wait_for(lambda: (lambda t: t if re.search(pattern, t) else None)(self.journal(unit)),
                        what=f"{pattern} in the journal")
        self.assertNotRegex(text, r"[\x00-\x08\x0b-\x1f]")

    def test_what_ran_runs_again_after_a_reboot(self):
        """A container without ONBOOT that ran at shutdown starts again, as in OpenVZ; one with ONBOOT=no does not."""
        vz("start", 305, check=0)
        systemctl("start", "vz.service", check=0, timeout=180)
        systemctl("restart", "vz.service", check=0, timeout=300)
        self.assertNotIn("305", self.running())
        self.assertEqual(sorted(self.running()), sorted(STARTED))
        systemctl("stop", "vz.service", check=0, timeout=300)

    def test_containers_survive_a_restart_of_vzd(self):
        systemctl("start", "vzd.service", check=0)
        vz("start", 301, check=0)
        systemctl("restart", "vzd.service", check=0)
        self.assertEqual(vz("exec2", 301, "echo still here", check=0).out, "still here\n")
        systemctl("kill", "-s", "KILL", "vzd.service", check=0)
        wait_for(lambda: systemctl("is-active", "vzd.service").out.strip() == "active", what="vzd again")
        self.assertEqual(vz("exec2", 301, "echo still here", check=0).out, "still here\n")
        vz("exec2", 301, "reboot")
        wait_for(lambda: vz("exec2", 301, "test $(cut -d. -f1 /proc/uptime) -ge 0").rc == 0, what="rebooted by vzd")
        vz("stop", 301, "--fast", check=0)

    def test_vzd_started_by_vzctl_is_no_part_of_a_session(self):
        """Without the unit running, the first start brings vzd up; it is not killed with the caller's session."""
        systemctl("stop", "vzd.service")
        run(["systemd-run", "--wait", "--quiet", "--collect", "--unit=admin", "vzctl", "start", "301"], check=0, timeout=60)
        self.assertEqual(vz("exec2", 301, "echo up", check=0).out, "up\n")
        vz("exec2", 301, "poweroff")
        wait_for(lambda: not scope(301).exists() and "down" in vz("status", 301).out, what="cleaned by somebody")


class VirtualSwap(unittest.TestCase):
    UNIT = "vz-vswap.service"
    CONF = pathlib.Path("/etc/vz/vz.conf")
    DISK = pathlib.Path("/var/tmp/vz-backing")

    @classmethod
    def setUpClass(cls):
        if vzmodule.MODULE.exists():
            vzmodule.install()

    def setUp(self):
        systemctl("stop", self.UNIT, check=0)
        self.others = self.swaps()
        old = self.CONF.read_text()
        self.addCleanup(self.CONF.write_text, old)
        self.addCleanup(systemctl, "stop", self.UNIT)
        self.CONF.write_text(old + '\nVSWAP_SIZE="192M"\n')

    @staticmethod
    def swaps():
        return {line.split()[0] for line in pathlib.Path("/proc/swaps").read_text().splitlines()[1:]}

    @staticmethod
    def status():
        return vz("vswap", "status", "--json", check=0).json()

    def disk(self):
        """A block device of 256 MiB for write-back, in vz.conf."""
        with open(self.DISK, "wb") as file:
            file.truncate(256 * MIB)
        device = run(["losetup", "-f", "--show", self.DISK], check=0).out.strip()
        self.addCleanup(self.DISK.unlink)
        self.addCleanup(run, ["losetup", "-d", device])
        self.addCleanup(systemctl, "stop", self.UNIT)
        with open(self.CONF, "a", encoding="ascii") as conf:
            conf.write(f'VSWAP_BACKING="{device}"\n')
        return device

    def state(self):
        return systemctl("show", "-p", "ActiveState,SubState,Result", "--value", self.UNIT).out.split()

    def test_start_again_restart_stop(self):
        systemctl("start", self.UNIT, check=0)
        self.assertEqual(sorted(self.state()), ["active", "exited", "success"])
        first = self.status()
        self.assertEqual((first["state"], first["bytes"]), ("on", 192 * MIB))
        self.assertEqual(self.swaps() - self.others, {first["device"]})
        systemctl("start", self.UNIT, check=0)
        vz("vswap", "start", check=0)
        self.assertEqual(self.status(), first, "a second start changes nothing")
        with open(self.CONF, "a", encoding="ascii") as conf:
            conf.write('VSWAP_SIZE="128M"\n')
        systemctl("restart", self.UNIT, check=0)
        again = self.status()
        self.assertEqual((again["state"], again["bytes"]), ("on", 128 * MIB), "a new device with the new size")
        self.assertEqual(self.swaps() - self.others, {again["device"]})
        systemctl("stop", self.UNIT, check=0)
        self.assertEqual(self.status()["state"], "off")
        self.assertEqual(self.swaps(), self.others)
        self.assertEqual(sorted(self.state()), ["dead", "inactive", "success"])
        journal = run(["journalctl", "--no-pager", "-b", "-o", "cat", "-u", self.UNIT], check=0).out
        self.assertRegex(journal, r"128 MiB of virtual swap are on")
        self.assertRegex(journal, r"Virtual swap is off")

    def test_what_it_loads_is_used(self):
        if not vzmodule.MODULE.exists():
            self.skipTest(f"no {vzmodule.MODULE}: tests/lab/kmod KERNEL builds it")
        systemctl("start", self.UNIT, check=0)
        self.assertTrue(vzmodule.loaded())
        self.assertIn(self.status()["mechanism"], ("module", "kernel"))
        systemctl("restart", self.UNIT, check=0)
        self.assertIn(self.status()["mechanism"], ("module", "kernel"), "what is loaded outlives the device")

    def test_it_is_up_before_containers_start(self):
        systemctl("start", "vz.service", check=0, timeout=180)
        self.addCleanup(systemctl, "stop", "vz.service", timeout=300)
        when = [int(systemctl("show", "-p", "ActiveEnterTimestampMonotonic", "--value", unit, check=0).out)
                for unit in (self.UNIT, "vz.service")]
        self.assertEqual(self.status()["state"], "on")
        self.assertLess(*when)

    def test_a_disk_that_is_not_there_is_a_failed_unit_and_containers_start(self):
        with open(self.CONF, "a", encoding="ascii") as conf:
            conf.write('VSWAP_BACKING="/dev/nosuchdisk"\n')
        self.addCleanup(systemctl, "reset-failed", self.UNIT)
        self.assertNotEqual(systemctl("start", self.UNIT).rc, 0)
        self.assertIn("failed", self.state())
        journal = ["journalctl", "--no-pager", "-b", "-o", "cat", "-u", self.UNIT]
        wait_for(lambda: "/dev/nosuchdisk" in run(journal).out, what="the reason in the journal")
        self.assertEqual(self.swaps(), self.others)
        systemctl("start", "vz.service", check=0, timeout=180)
        self.addCleanup(systemctl, "stop", "vz.service", timeout=300)
        self.assertIn("301", run(["vzlist", "-H", "-o", "ctid"]).out.split())

    def test_written_back_pages_come_back_whole(self):
        """The kernel writes pages to the disk when it is told to; vz says how many. They come back as they were."""
        device = self.disk()
        systemctl("start", self.UNIT, check=0)
        made = self.status()
        self.assertEqual(made["backing"], device)
        self.assertIn(f"written back to {device}", vz("vswap", "status", check=0).out)
        self.only_ours()
        self.fill(301)
        written = pathlib.Path("/sys/block", made["device"][5:], "writeback")
        before = self.status()
        written.write_text("huge")  # what did not compress: all of it
        after = self.status()
        print(f"# {(after['written_back'] - before['written_back']) / MIB:.0f} MiB written back, RAM "
              f"{before['ram'] / MIB:.0f} -> {after['ram'] / MIB:.0f} MiB", flush=True)
        self.assertEqual(before["written_back"], 0)
        self.assertGreater(after["written_back"], 20 * MIB)
        self.assertLess(after["ram"], before["ram"] - 20 * MIB)
        self.check_content(301)
        vz("stop", 301, "--fast", check=0)
        systemctl("stop", self.UNIT, check=0)
        run(["losetup", "-d", device], check=0)
        wait_for(lambda: device not in run(["losetup", "-n", "-O", "NAME"]).out.split(), what=f"{device} to be free")

    def only_ours(self):
        for other in self.others:
            run(["swapoff", other], check=0)
            self.addCleanup(run, ["swapon", "-p", "100", other])

    def fill(self, ctid):
        """80 MiB of noise in a container of 32 MiB, and what it should be."""
        vz("set", ctid, "--ram", "32M", "--swap", "128M", "--save", check=0)
        vz("start", ctid, check=0)
        self.addCleanup(vz, "stop", ctid, "--fast")
        vz("exec2", ctid, "mkdir -p /m; mount -t tmpfs -o size=1g none /m; "
                          "dd if=/dev/urandom bs=1M count=80 2>/dev/null | tee /m/data | md5sum >/sum", check=0)

    def check_content(self, ctid):
        self.assertEqual(vz("exec2", ctid, "md5sum </m/data | cmp - /sum").rc, 0)
        self.assertEqual(events(ctid)["oom_kill"], 0)

    def test_a_stop_that_does_not_fit_leaves_the_swap(self):
        systemctl("start", self.UNIT, check=0)
        made = self.status()
        self.only_ours()
        self.fill(301)
        systemctl("stop", self.UNIT, check=0, timeout=120)
        self.assertIn(made["device"], self.swaps())
        self.check_content(301)
        systemctl("start", self.UNIT, check=0)
        self.assertEqual(self.status()["device"], made["device"], "the same one goes on")
        vz("stop", 301, "--fast", check=0)
        systemctl("stop", self.UNIT, check=0)
        self.assertEqual(self.swaps(), set())


if __name__ == "__main__":
    labguest.main(private=False)

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed project on a systemd host: vzd.service and vz.service start containers in order and stop them."""
import pathlib
import re
import unittest

import labguest
import vzhost
from labguest import SYSTEMD, scope
from vzhost import run, wait_for

INSTALLED = pathlib.Path("/vz/build/install")
ORDER = pathlib.Path("/run/vz-order")
# id: BOOTORDER, ONBOOT; higher orders first, then lower ids
BOX = {301: ("5", "yes"), 302: ("20", "yes"), 303: ("", "yes"), 304: ("20", "yes"), 305: ("30", "no")}
STARTED = ["302", "304", "301", "303"]


def systemctl(*args, **kw):
    return run(["systemctl", *args], **kw)


def setUpModule():
    if not SYSTEMD:
        raise unittest.SkipTest("needs --systemd")
    run(["cp", "-a", f"{INSTALLED}/.", "/"], check=0)
    run(["ldconfig"], check=0)
    with open("/etc/vz/vz.conf", "a", encoding="ascii") as conf:
        conf.write(f'\nTEMPLATE="{vzhost.TEMPLATES}"\nVE_PARALLEL="1"\n')
    for name in ("premount", "umount"):
        script = pathlib.Path(f"/etc/vz/conf/vps.{name}")
        script.write_text(f"#!/bin/sh\necho {name} $VEID >> {ORDER}\n")
        script.chmod(0o755)
    run(["systemd-tmpfiles", "--create"])
    systemctl("daemon-reload", check=0)
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
        checked = run(["systemd-analyze", "verify", "--man=no", "/usr/local/lib/systemd/system/vz.service",
                       "/usr/local/lib/systemd/system/vzd.service"])
        self.assertEqual((checked.rc, checked.err), (0, ""))
        systemctl("enable", "vz.service", "vzd.service", check=0)
        self.assertEqual(systemctl("is-enabled", "vz.service", check=0).out.strip(), "enabled")

    def test_boot_and_shutdown(self):
        systemctl("start", "vz.service", check=0, timeout=180)
        self.assertEqual(systemctl("is-active", "vz.service", "vzd.service").out.split(), ["active", "active"])
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


if __name__ == "__main__":
    labguest.main(private=False)

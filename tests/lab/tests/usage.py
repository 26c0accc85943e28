#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Usage and metrics of the installed project on a systemd host: timer, hardened exporter, containers that end alone."""
import json
import pathlib
import re
import unittest
import urllib.request

import labguest
import vzhost
from labguest import SYSTEMD, scope
from vzhost import run, wait_for

PAGE = "http://127.0.0.1:9788/metrics"
CTID = 401


def systemctl(*args, **kw):
    return run(["systemctl", *args], **kw)


def vz(*args, **kw):
    """The installed vzctl."""
    return run(["vzctl", *args], **kw)


def usage():
    entries = run(["vzstat", "--json", CTID], check=0).json()["containers"]
    return next((e for e in entries if not e["destroyed"]), None)


def setUpModule():
    if not SYSTEMD:
        raise unittest.SkipTest("needs --systemd")
    labguest.install()
    systemctl("start", "vzd.service", check=0)
    run(["vz-bpf", "load"]) if pathlib.Path("/usr/local/sbin/vz-bpf").exists() else None
    vz("create", CTID, "--ostemplate", vzhost.busybox_template(), "--diskspace", "64M", check=0)
    vz("set", CTID, "--ipadd", "198.18.4.1", "--ram", "64M", "--swap", "0", "--save", check=0)
    vz("start", CTID, check=0)


def tearDownModule():
    if SYSTEMD:
        systemctl("stop", "vz-exporter.socket", "vz-exporter.service", "vz-usage.timer")
        vz("stop", CTID, "--fast")
        vz("destroy", CTID)
        systemctl("stop", "vzd.service")


class Usage(unittest.TestCase):
    def setUp(self):
        if "running" not in vz("status", CTID, check=0).out:
            vz("start", CTID, check=0)

    def test_units_are_correct(self):
        units = [f"/usr/local/lib/systemd/system/{u}" for u in ("vz-usage.service", "vz-usage.timer",
                                                                "vz-exporter.service", "vz-exporter.socket")]
        checked = run(["systemd-analyze", "verify", "--man=no", *units])
        self.assertEqual((checked.rc, checked.err), (0, ""))

    def test_timer_records(self):
        systemctl("enable", "--now", "vz-usage.timer", check=0)
        self.assertEqual(systemctl("is-active", "vz-usage.timer").out.strip(), "active")
        systemctl("start", "vz-usage.service", check=0)
        file = pathlib.Path(f"/var/lib/vz/usage/{CTID}/record.json")
        before = json.loads(file.read_text())["total"]["traffic"].get("ip4_in", {}).get("1", [0, 0])
        run(["ping", "-n", "-c", "2", "-s", "100", "198.18.4.1"], check=0)
        systemctl("start", "vz-usage.service", check=0)
        record = json.loads(file.read_text())
        self.assertGreater(record["total"]["cpu_ns"], 0)
        self.assertEqual(record["total"]["traffic"]["ip4_in"]["1"], [before[0] + 2 * 128, before[1] + 2])
        self.assertTrue(pathlib.Path("/sys/fs/bpf/vz/net1/vz_net").exists(), "counts outlive all programs")

    def series(self, text):
        """Names with labels; numbers change."""
        return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}

    def test_exporter_sees_what_vzctl_sees(self):
        """Hardening takes nothing from it."""
        systemctl("enable", "--now", "vz-exporter.socket", check=0)
        self.assertEqual(systemctl("is-active", "vz-exporter.service").out.strip(), "inactive")
        with urllib.request.urlopen(PAGE) as page:
            text = page.read().decode()
        self.assertTrue(text.endswith("# EOF\n"))
        self.assertEqual(self.series(text), self.series(vz("metrics", check=0).out))
        for wanted in ("vz_cpu_seconds_total", "vz_ram_bytes", "vz_network_bytes_total", "vz_pressure_seconds_total",
                       "vz_beancounter_held", "vz_disk_used_bytes"):
            self.assertRegex(text, f'(?m)^{wanted}{{ctid="{CTID}"')
        self.assertEqual(systemctl("is-active", "vz-exporter.service").out.strip(), "active")

    def test_strict_parser(self):
        parse = ("import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as f\n"
                 "print(len(list(f(sys.stdin.read()))))")
        parsed = run(["/usr/bin/python3", "-c", parse], stdin=vz("metrics", check=0).out)
        if "ModuleNotFoundError" in parsed.err:
            self.skipTest("python3-prometheus-client is not in the guest")
        self.assertRegex(parsed.out, r"^\d\d\n")

    def test_a_container_that_ends_by_itself(self):
        """systemd takes its groups away as soon as they are empty; vzd has read them some seconds before."""
        vz("exec2", CTID, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done", check=0)
        counted = int(re.search(r"usage_usec (\d+)", (scope(CTID) / "ct/cpu.stat").read_text())[1]) / 1e6
        run(["ping", "-n", "-c", "3", "-s", "100", "198.18.4.1"], check=0)
        sent = usage()["traffic"][0]["in_packets"]
        run(["sleep", "12"])  # two of vzd's readings; no event tells of them
        vz("exec2", CTID, "poweroff")
        wait_for(lambda: not scope(CTID).exists(), what="groups gone")
        wait_for(lambda: "down" in vz("status", CTID, check=0).out, what="down")
        wait_for(lambda: usage() and usage()["cpu_seconds"] >= counted, what=f"{counted} s of CPU time are kept")
        self.assertEqual(usage()["traffic"][0]["in_packets"], sent)
        vz("start", CTID, check=0)
        self.assertGreaterEqual(usage()["cpu_seconds"], counted)


if __name__ == "__main__":
    if not SYSTEMD:
        print("skipped: needs --systemd\n0 passed, 0 failed, 1 skipped")
        raise SystemExit(77)
    labguest.main(private=False)

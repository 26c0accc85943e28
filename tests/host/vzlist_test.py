#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vzlist, vzctl check, console, enter and boot with containers that really run."""
import csv
import io
import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from terminal import Terminal
from vzhost import run, vzctl, vzlist


def read_yaml(text):
    """The subset that vz writes, where no YAML reader is installed: skipped then."""
    try:
        import yaml
    except ImportError:
        raise vzhost.unittest.SkipTest("no python3-yaml")
    return yaml.safe_load(text)


class List(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        cls.holder = cls("test_default_table")
        prefix = f"l{os.getpid()}"
        cls.prefix = prefix
        cls.running = cls.holder.create("--name", f"{prefix}-b", "--hostname", "beta.example", "--ipadd", "198.18.4.1", "--ipadd",
                                        "fd00:4::1", "--ram", "96M", "--swap", "0", "--numproc", "80", "--description", "a b, c",
                                        "--bootorder", "5", "--onboot", "yes", "--cpuunits", "500")
        vzctl("start", cls.running, check=0)
        cls.small = cls.holder.start("--name", f"{prefix}-a", "--hostname", "alpha.example", "--ram", "32M", "--swap", "0",
                                     "--bootorder", "20", diskspace="32M")
        cls.stopped = cls.holder.create("--name", f"{prefix}-c", "--hostname", "gamma.test", diskspace="16M")
        cls.mounted = cls.holder.create("--hostname", "delta.test", diskspace="16M")
        vzctl("mount", cls.mounted, check=0)

    @classmethod
    def tearDownClass(cls):
        cls.holder.doCleanups()

    def ids(self, *args):
        return [int(w) for w in vzlist(*args, "-H", "-octid", check=0).out.split()]

    def test_default_table(self):
        lines = vzlist(check=0).out.splitlines()
        self.assertEqual(lines[0].split(), ["CTID", "NPROC", "STATUS", "IP_ADDR", "HOSTNAME"])
        self.assertEqual(sorted(int(l.split()[0]) for l in lines[1:]), sorted([self.running, self.small]))
        row = next(l for l in lines if str(self.running) in l).split()
        self.assertGreaterEqual(int(row[1]), 1)
        self.assertEqual(row[2], "running")
        self.assertTrue(all(l == l.rstrip() for l in lines))

    def test_states_and_filters(self):
        everyone = [self.running, self.small, self.stopped, self.mounted]
        self.assertEqual(self.ids("-a"), sorted(everyone))
        self.assertEqual(self.ids("-S"), sorted([self.stopped, self.mounted]))
        status = {r["ctid"]: r["status"] for r in vzlist("-a", "-j", check=0).json()}
        self.assertEqual(status, {self.running: "running", self.small: "running", self.stopped: "stopped", self.mounted: "mounted"})
        self.assertEqual(self.ids("-h", "*.example"), sorted([self.running, self.small]))
        self.assertEqual(self.ids("-a", "-h", "*.test"), sorted([self.stopped, self.mounted]))
        self.assertEqual(self.ids("-a", "-N", f"{self.prefix}-[ac]"), sorted([self.small, self.stopped]))
        self.assertEqual(self.ids("-a", "-d", "a*"), [self.running])
        self.assertEqual(self.ids(f"{self.prefix}-c", str(self.running)), sorted([self.running, self.stopped]))
        self.assertEqual(vzlist("-1").out.split(), [str(i) for i in sorted([self.running, self.small])])
        self.assertIn(f"{self.prefix}-b", vzlist("-n", "-H").out)

    def test_sort(self):
        self.assertEqual(self.ids("-s", "-bootorder"), [self.small, self.running])
        self.assertEqual(self.ids("-s", "bootorder"), [self.running, self.small])
        self.assertEqual(self.ids("-s", "physpages.l"), [self.small, self.running])
        self.assertEqual(self.ids("-s", "hostname"), [self.small, self.running])
        self.assertEqual(self.ids("-s", "-uptime"), [self.running, self.small])
        self.assertEqual(self.ids("-a", "-s", "-ctid"), sorted(self.ids("-a"), reverse=True))

    def test_every_column_alone_and_all_formats(self):
        listed = [l.split()[0] for l in vzlist("-L", check=0).out.splitlines()]
        self.assertGreater(len(listed), 100)
        result = vzlist("-a", "-o", ",".join(listed), check=0)
        self.assertEqual(len(result.out.splitlines()), 5)
        table = list(csv.reader(io.StringIO(vzlist("-a", "--format", "csv", "-o", ",".join(listed), check=0).out)))
        self.assertEqual(table[0], listed)
        self.assertTrue(all(len(row) == len(listed) for row in table))
        for column in listed:
            self.assertRc(vzlist("-a", "-s", column, "-o", "ctid"), 0)

    def test_formats_agree(self):
        rows = vzlist("-a", "--format", "json", check=0).json()
        plain = "ctid,hostname,name,description,status,ip,onboot,bootorder,cpuunits"
        as_json = vzlist("-a", "-j", "-o", plain, check=0).json()
        row = next(r for r in as_json if r["ctid"] == self.running)
        self.assertEqual(row, {"ctid": self.running, "hostname": "beta.example", "name": f"{self.prefix}-b", "description": "a b, c",
                               "status": "running", "ip": ["198.18.4.1", "fd00:4::1"], "onboot": True, "bootorder": 5, "cpuunits": 500})
        as_csv = list(csv.DictReader(io.StringIO(vzlist("-a", "--format", "csv", "-o", plain, check=0).out)))
        found = next(r for r in as_csv if r["ctid"] == str(self.running))
        self.assertEqual((found["description"], found["ip"], found["onboot"]), ("a b, c", "198.18.4.1 fd00:4::1", "true"))
        self.assertEqual(read_yaml(vzlist("-a", "--format", "yaml", "-o", plain, check=0).out), as_json)
        self.assertEqual(set(rows[0]), {r for r in rows[1]}, "every row has every key")
        whole = read_yaml(vzlist("-a", "--format", "yaml", check=0).out)
        self.assertEqual([sorted(r) for r in whole], [sorted(r) for r in rows])

    def test_live_values(self):
        row = next(r for r in vzlist("-j", check=0).json() if r["ctid"] == self.running)
        self.assertEqual(row["physpages"]["limit"], 96 * 256)
        self.assertEqual(row["numproc"]["limit"], 80)
        self.assertGreater(row["numproc"]["held"], 0)
        self.assertGreater(row["physpages"]["held"], 0)
        self.assertLess(row["physpages"]["held"], 96 * 256)
        self.assertGreater(row["diskspace"]["usage"], 500)
        self.assertEqual(row["diskspace"]["hardlimit"], 65536)
        self.assertGreaterEqual(row["uptime"], 0)
        self.assertIn(len(row["laverage"] or [0, 0, 0]), (3,))

    def test_errors(self):
        for args in (["-o", "nosuch"], ["-o", ""], ["-s", "nosuch"], ["--format", "xml"], ["nosuchname"], ["99999999999"],
                     ["-o", "ctid,,ip"], ["-o", "physpages.z"], ["--nosuch"]):
            with self.subTest(args=args):
                result = vzlist(*args)
                self.assertRc(result, 1)
                self.assertNotEqual(result.err, "")
                self.assertEqual(result.out, "")

    def test_colour(self):
        argv = [vzhost.BIN / "vzlist", "-a"]
        for env, coloured in (({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "", "TERM": "dumb"}, False)):
            with self.subTest(env=env), Terminal(argv, env=env) as tty:
                self.assertEqual(tty.wait(), 0)
                self.assertEqual("\x1b[32m" in tty.screen, coloured, repr(tty.screen))
        self.assertIn("\x1b", vzlist("-a", "--color", "always").out)
        self.assertNotIn("\x1b", vzlist("-a").out)

    def test_a_container_that_stops_meanwhile(self):
        """A hundred lists beside starts and stops: always whole, never an error."""
        ctid = self.create(diskspace="16M")
        restless = subprocess.Popen(["sh", "-c", f"for i in 1 2 3; do {vzhost.BIN}/vzctl start {ctid}; {vzhost.BIN}/vzctl stop {ctid} --fast; done"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        count = 0
        while restless.poll() is None or count < 3:
            rows = vzlist("-a", "-j", check=0).json()
            self.assertIn(ctid, [r["ctid"] for r in rows])
            count += 1


class Check(vzhost.HostTest):
    def test_table_json_and_remedies(self):
        rows = vzctl("check", "--json", check=0).json()
        self.assertGreater(len(rows["features"]) if isinstance(rows, dict) else len(rows), 20)
        features = rows["features"] if isinstance(rows, dict) else rows
        text = vzctl("check", check=0).out
        for f in features:
            self.assertIn(f["name"], text)
            if not f["present"]:
                self.assertTrue(f["consequence"] and f["remedy"], f)
                self.assertIn(f["remedy"], text)
        self.assertEqual(len({f["name"] for f in features}), len(features))


class Terminals(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        cls.holder = cls("test_enter")
        cls.ctid = cls.holder.start("--hostname", "term.example")

    @classmethod
    def tearDownClass(cls):
        cls.holder.doCleanups()

    def test_enter(self):
        with Terminal([vzhost.BIN / "vzctl", "enter", self.ctid], rows=31, cols=99) as tty:
            tty.expect(r"entered into CT \d+")
            tty.expect(r"[#$] ")
            tty.type("stty size; tty\n")
            tty.expect(r"31 99\r\n/dev/pts/\d+")
            tty.resize(40, 120)
            tty.type("stty size\n")
            tty.expect("40 120")
            tty.type("sleep 1000\n")
            vzhost.wait_for(lambda: "sleep 1000" in self.inside(self.ctid, "ps"), what="sleep inside")
            at = len(tty.screen)
            tty.type("\x03")
            tty.expect(r"[#$] ", start=at)
            vzhost.wait_for(lambda: "sleep 1000" not in self.inside(self.ctid, "ps | grep -v grep"), what="Ctrl-C ends sleep only")
            tty.type("exit 3\n")
            tty.expect(r"exited from CT \d+")
            self.assertEqual(tty.wait(), 3, tty.screen)

    def test_enter_hangs_up(self):
        """The user's terminal goes away: nothing stays inside."""
        with Terminal([vzhost.BIN / "vzctl", "enter", self.ctid, "--exec", "sleep 2000"]):
            vzhost.wait_for(lambda: "sleep 2000" in self.inside(self.ctid, "ps"), what="sleep inside")
        vzhost.wait_for(lambda: "sleep 2000" not in self.inside(self.ctid, "ps | grep -v grep"), what="sleep ended with its terminal")

    def test_exec_from_a_terminal(self):
        with Terminal([vzhost.BIN / "vzctl", "exec2", self.ctid, "echo from inside; exit 7"]) as tty:
            self.assertEqual(tty.wait(), 7, tty.screen)
            self.assertIn("from inside", tty.screen)

    def test_console(self):
        with Terminal([vzhost.BIN / "vzctl", "console", self.ctid]) as tty:
            tty.expect("Attached to the console")
            self.inside(self.ctid, "echo words on the console > /dev/console")
            tty.expect("words on the console")
            second = vzctl("console", self.ctid, timeout=20)
            self.assertRc(second, 9)
            tty.type("\x1b.")
            tty.expect("Detached")
            self.assertEqual(tty.wait(), 0)
        self.inside(self.ctid, "echo said while nobody looked > /dev/console")
        with Terminal([vzhost.BIN / "vzctl", "console", self.ctid]) as tty:
            tty.expect("said while nobody looked")
            tty.type("\x1b.")
            self.assertEqual(tty.wait(), 0)
        for tty_number in ("2", "99"):
            self.assertRc(vzctl("console", self.ctid, tty_number), 172)

    def test_console_before_the_start_and_until_the_end(self):
        ctid = self.create(diskspace="16M")
        with Terminal([vzhost.BIN / "vzctl", "console", ctid]) as tty:
            tty.expect("waiting for its start")
            vzctl("start", ctid, check=0)
            tty.expect("Attached to the console")
            vzctl("stop", ctid, "--fast", check=0)
            tty.expect("The container ended")
            self.assertEqual(tty.wait(), 0)

    def test_console_of_a_container_that_vzd_has_not_yet_adopted(self):
        """It runs some milliseconds before that. Names that appear in the run directory meanwhile do not end the wait."""
        ctid = self.create(diskspace="16M")
        with Terminal([vzhost.BIN / "vzctl", "console", ctid]) as tty:
            tty.expect("waiting for its start")
            environment = {**os.environ, "VZ_FAULT_STOP": "start.adopt"}
            with subprocess.Popen([vzhost.BIN / "vzctl", "start", str(ctid)], env=environment, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as starting:
                try:
                    os.waitid(os.P_PID, starting.pid, os.WSTOPPED | os.WNOWAIT)
                    name = pathlib.Path("/run/vz/other")
                    for _ in range(10):
                        name.touch()
                        name.unlink()
                        with self.assertRaisesRegex(AssertionError, "not shown: "):
                            tty.expect("Attached|does not run", timeout=0.1)
                finally:
                    starting.send_signal(signal.SIGCONT)
                self.assertEqual(starting.wait(60), 0)
            tty.expect("Attached to the console")
            vzctl("stop", ctid, "--fast", check=0)
            self.assertEqual(tty.wait(), 0)

    def test_console_wait_is_given_up_by_ctrl_c(self):
        ctid = self.create(diskspace="16M")
        with Terminal([vzhost.BIN / "vzctl", "console", ctid]) as tty:
            tty.expect("waiting for its start")
            tty.type("\x03")
            self.assertNotEqual(tty.wait(), 0)

    def test_destroy_asks_on_a_terminal(self):
        ctid = self.create(diskspace="16M")
        with Terminal([vzhost.BIN / "vzctl", "destroy", ctid]) as tty:
            tty.expect("Destroy container")
            tty.type("n\n")
            tty.wait()
        self.assertEqual(self.status(ctid)[0], "exist")
        with Terminal([vzhost.BIN / "vzctl", "destroy", ctid]) as tty:
            tty.expect("Destroy container")
            tty.type("y\n")
            self.assertEqual(tty.wait(), 0)
        self.assertEqual(self.status(ctid)[0], "deleted")


class Boot(vzhost.HostTest):
    """vz.service's two commands."""

    def test_order_and_choice(self):
        started = pathlib.Path(f"/run/vz/order-{os.getpid()}")
        script = pathlib.Path("/etc/vz/conf/vps.mount")
        script.write_text(f"#!/bin/sh\necho $VEID >> {started}\n")
        script.chmod(0o755)
        self.addCleanup(script.unlink)
        vz_conf = pathlib.Path("/etc/vz/vz.conf")
        saved = vz_conf.read_text()
        self.addCleanup(vz_conf.write_text, saved)
        vz_conf.write_text(saved + 'VE_PARALLEL="1"\n')
        low = self.create("--onboot", "yes", "--bootorder", "1", diskspace="16M")
        high = self.create("--onboot", "yes", "--bootorder", "30", diskspace="16M")
        none = self.create("--onboot", "yes", diskspace="16M")
        disabled = self.create("--onboot", "yes", "--bootorder", "99", "--disabled", "yes", diskspace="16M")
        off = self.create("--onboot", "no", diskspace="16M")
        broken = self.create("--onboot", "yes", "--bootorder", "50", diskspace="16M")
        pathlib.Path(f"/var/lib/vz/private/{broken}/root.img").unlink()
        booted = vzctl("boot-start")
        self.assertNotEqual(booted.rc, 0, "one of them cannot start")
        self.assertIn(str(broken), booted.err)
        self.assertEqual(started.read_text().split(), [str(high), str(low), str(none)])
        for ctid in (disabled, off, broken):
            self.assertIn("down", self.status(ctid))
        self.assertEqual(vzctl("boot-start").rc, booted.rc)
        pathlib.Path(f"/etc/vz/conf/{broken}.conf").unlink()

        # What runs at shutdown comes back although ONBOOT is not set; ONBOOT=no does not.
        unset = self.create(diskspace="16M")
        conf = pathlib.Path(f"/etc/vz/conf/{unset}.conf")
        conf.write_text("".join(l for l in conf.read_text().splitlines(True) if not l.startswith("ONBOOT")))
        vzctl("start", unset, check=0)
        vzctl("start", off, check=0)
        stopped = vzctl("boot-stop")
        self.assertRc(stopped, 0)
        self.assertEqual(vzlist("-H", "-octid").out.split(), [])
        self.assertIn(str(unset), os.listdir("/var/lib/vz/vzreboot"))
        started.unlink()
        vz_conf.write_text(saved + 'VE_PARALLEL="4"\n')
        vzctl("boot-start", check=0)
        self.assertEqual(sorted(vzlist("-H", "-octid").out.split()), sorted(map(str, (low, high, none, unset))))
        self.assertFalse(os.path.exists("/var/lib/vz/vzreboot"))
        vz_conf.write_text(saved + 'VIRTUOZZO="no"\n')
        self.assertRc(vzctl("boot-stop"), 0)
        self.assertEqual(len(vzlist("-H", "-octid").out.split()), 4)
        self.assertNotIn("boot-start", vzctl("--help").out)


if __name__ == "__main__":
    vzhost.main()

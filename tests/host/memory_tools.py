#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Beancounters in vzlist, vzmemcheck, vzcalc, vzsplit and vzcfgvalidate with containers that really run."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from terminal import Terminal
from vzhost import BIN, run, vzctl, vzlist

MIB = 1 << 20
PAGES = 256  # of one MiB
UNLIMITED = 9223372036854775807


def tool(name, *args, **kw):
    return run([BIN / name, *args], **kw)


def host_ram():
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(re.search(r"MemTotal:\s+(\d+) kB", text).group(1)) * 1024


def row(ctid):
    return vzlist("-j", ctid, check=0).json()[0]


def without_swap():
    return len(pathlib.Path("/proc/swaps").read_text().splitlines()) < 2


class Beancounters(vzhost.HostTest):
    def test_held_maxheld_and_barrier(self):
        ctid = self.start("--ram", "96M", "--swap", "0")
        before = row(ctid)["physpages"]
        self.inside(ctid, "dd if=/dev/zero of=/dev/shm/x bs=1M count=24 2>/dev/null")
        full = row(ctid)
        self.assertGreaterEqual(full["physpages"]["held"], before["held"] + 23 * PAGES)
        self.assertGreaterEqual(full["shmpages"]["held"], 24 * PAGES)
        self.assertGreaterEqual(full["oomguarpages"]["held"], full["physpages"]["held"])
        self.inside(ctid, "rm /dev/shm/x")
        empty = row(ctid)
        self.assertLess(empty["physpages"]["held"], full["physpages"]["held"] - 20 * PAGES)
        for _ in range(3):
            self.assertGreaterEqual(row(ctid)["physpages"]["maxheld"], full["physpages"]["held"], "survives the use")
        self.assertEqual(empty["physpages"]["limit"], 96 * PAGES)
        self.assertEqual(empty["lockedpages"]["barrier"], 96 * PAGES)
        self.assertEqual(empty["oomguarpages"], {**empty["oomguarpages"], "barrier": 96 * PAGES, "limit": UNLIMITED, "failcnt": 0})
        self.assertEqual(empty["vmguarpages"]["barrier"], 96 * PAGES)
        self.assertGreater(empty["kmemsize"]["held"], 0)
        self.assertEqual(empty["swappages"]["limit"], 0)

    def test_a_restart_begins_anew(self):
        ctid = self.start("--ram", "96M", "--swap", "0")
        self.inside(ctid, "dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null; rm /dev/shm/x")
        self.assertGreaterEqual(row(ctid)["physpages"]["maxheld"], 40 * PAGES)
        vzctl("restart", ctid, "--fast", check=0)
        self.assertLess(row(ctid)["physpages"]["maxheld"], 40 * PAGES)

    def test_failcnt_and_kills(self):
        ctid = self.start("--ram", "32M", "--swap", "0")
        calm = row(ctid)
        self.assertEqual((calm["physpages"]["failcnt"], calm["oomguarpages"]["failcnt"]), (0, 0))
        if not without_swap():
            self.skipTest("this host has swap")
        self.assertRc(vzctl("exec2", ctid, "tail /dev/zero"), 137)
        hit = row(ctid)
        self.assertGreater(hit["physpages"]["failcnt"], 0)
        self.assertEqual(hit["oomguarpages"]["failcnt"], 1)
        self.assertLessEqual(hit["physpages"]["maxheld"], 32 * PAGES)
        self.assertGreater(hit["physpages"]["maxheld"], 31 * PAGES)
        self.assertEqual(vzlist("-H", "-o", "oomguarpages.f", ctid, check=0).out.strip(), "1")
        vzctl("restart", ctid, "--fast", check=0)
        self.assertEqual(row(ctid)["oomguarpages"]["failcnt"], 1, "kills are counted since the host booted")

    def test_swap(self):
        if without_swap():
            self.skipTest("this host has no swap")
        ctid = self.start("--ram", "32M", "--swap", "64M")
        self.inside(ctid, "dd if=/dev/urandom of=/dev/shm/x bs=1M count=60 2>/dev/null")
        full = row(ctid)
        self.assertGreater(full["swappages"]["held"], 20 * PAGES)
        self.assertEqual(full["swappages"]["limit"], 64 * PAGES)
        self.assertGreater(full["physpages"]["failcnt"], 0)
        self.assertGreaterEqual(full["oomguarpages"]["held"], 60 * PAGES)
        report = tool("vzmemcheck", "-j", check=0).json()
        self.assertEqual(report["containers"][0]["swap_used"] // 4096 // 16, full["swappages"]["held"] // 16)
        self.assertGreater(sum(d["used"] for d in report["host"]["swap_devices"]), 20 * MIB)
        self.inside(ctid, "rm /dev/shm/x")
        empty = row(ctid)
        self.assertLess(empty["swappages"]["held"], 10 * PAGES)
        if full["swappages"]["maxheld"] is not None:  # memory.swap.peak: cgroup v2, Linux 6.5
            self.assertGreaterEqual(empty["swappages"]["maxheld"], full["swappages"]["held"])

    def test_hits_without_a_kill(self):
        """Page cache gives way at the limit: refused charges are counted, nobody is killed."""
        ctid = self.start("--ram", "32M", "--swap", "64M", diskspace="256M")
        self.inside(ctid, "dd if=/dev/zero of=/big bs=1M count=100 2>/dev/null; cat /big >/dev/null")
        hit = row(ctid)
        self.assertGreater(hit["physpages"]["failcnt"], 0)
        self.assertEqual(hit["oomguarpages"]["failcnt"], 0)
        self.assertGreater(hit["physpages"]["maxheld"], 30 * PAGES)

    def test_processes(self):
        ctid = self.start("--numproc", "20")
        vzctl("exec2", ctid, "for i in $(seq 40); do sleep 2 & done 2>/dev/null")
        numproc = row(ctid)["numproc"]
        self.assertGreater(numproc["failcnt"], 0)
        self.assertEqual((numproc["barrier"], numproc["limit"]), (20, 20))
        if numproc["maxheld"] is not None:  # pids.peak: Linux 6.1
            self.assertEqual(numproc["maxheld"], 20)

    def test_private_memory_is_read_from_the_processes_without_the_programs(self):
        if pathlib.Path("/sys/fs/bpf/vz/1/vz_state").exists():
            self.skipTest("the BPF programs are loaded")
        ctid = self.create("--ram", "64M", "--swap", "64M", "--vm_overcommit", "1.5")
        vzctl("start", ctid, "--force", check=0)  # the bound cannot be enforced without them
        self.assertEqual(vzlist("-H", "-o", "privvmpages.m,privvmpages.f,privvmpages.l", ctid, check=0).out.split(),
                         ["-", "-", str(192 * PAGES)])
        self.assertGreater(row(ctid)["privvmpages"]["held"], 0)

    def test_a_stopped_container_has_only_its_configuration(self):
        ctid = self.create("--ram", "64M", "--swap", "32M")
        counter = row(ctid)["physpages"]
        self.assertEqual(counter, {"held": None, "maxheld": None, "barrier": 0, "limit": 64 * PAGES, "failcnt": None})


class Memcheck(vzhost.HostTest):
    def test_sums_of_what_runs_and_of_all(self):
        a = self.start("--ram", "64M", "--swap", "32M", "--name", "memcheck-a")
        b = self.start("--ram", "48M", "--swap", "0")
        c = self.create("--ram", "100M", "--swap", "10M")
        report = tool("vzmemcheck", "--json", check=0).json()
        self.assertEqual([ct["ctid"] for ct in report["containers"]], sorted([a, b]))
        self.assertEqual(report["totals"]["ram_promised"], 112 * MIB)
        self.assertEqual(report["totals"]["swap_promised"], 32 * MIB)
        self.assertEqual(report["totals"]["ram_used"], sum(ct["ram_used"] for ct in report["containers"]))
        self.assertGreater(report["totals"]["ram_used"], 0)
        self.assertEqual(report["host"]["ram"], host_ram())
        self.assertEqual(sum(report["worst_case"][k] for k in ("in_ram", "in_zram", "on_disk", "unbacked")), 144 * MIB)
        every = tool("vzmemcheck", "-a", "-j", check=0).json()
        self.assertIn(c, [ct["ctid"] for ct in every["containers"]])
        self.assertEqual(every["totals"]["ram_promised"], 212 * MIB)
        self.assertEqual(next(ct for ct in every["containers"] if ct["ctid"] == c)["ram_used"], 0)

    def test_text(self):
        ctid = self.start("--ram", "64M", "--swap", "32M")
        lines = tool("vzmemcheck", check=0).out.splitlines()
        self.assertEqual(lines[0], "Output values in %")
        self.assertTrue(lines[2].split()[0] == "Summary:" and f"{64 * MIB / host_ram() * 100:.2f}" == lines[2].split()[2], lines)
        verbose = tool("vzmemcheck", "-v", "-A", check=0).out.splitlines()
        self.assertEqual(verbose[0], "Output values in Mbytes")
        mine = next(l for l in verbose if l.split()[:1] == [str(ctid)]).split()
        self.assertEqual((mine[2], mine[4], mine[5]), ("64.00", "32.00", "96.00"))
        self.assertEqual(float(next(l for l in verbose if l.strip().startswith("Host:")).split()[1]), round(host_ram() / MIB, 2))

    def test_promises_beyond_the_host(self):
        if not without_swap():
            self.skipTest("this host has swap")
        self.create("--ram", "900G", "--swap", "100G")
        report = tool("vzmemcheck", "-a", "-j", check=0).json()
        self.assertEqual(report["worst_case"]["in_ram"], host_ram())
        self.assertEqual(report["worst_case"]["unbacked"], 1000 * 1024 * MIB - host_ram())
        self.assertRegex(tool("vzmemcheck", "-a", check=0).out, r"without a place +[1-9]")

    def test_a_container_without_limits_is_told(self):
        ctid = self.create()
        conf = pathlib.Path(f"/etc/vz/conf/{ctid}.conf")
        conf.write_text("".join(l for l in conf.read_text().splitlines(True) if "PAGES=" not in l))
        report = tool("vzmemcheck", "-a", "-j", check=0).json()
        self.assertEqual(report["totals"]["unlimited"], 1)
        self.assertIn("without a limit", tool("vzmemcheck", "-a", check=0).out)

    def test_bad_input(self):
        for args in (["--nosuch"], ["101"], ["--format", "xml"], ["--format", "csv"]):
            with self.subTest(args=args):
                result = tool("vzmemcheck", *args)
                self.assertRc(result, 1)
                self.assertEqual(result.out, "")


class Calc(vzhost.HostTest):
    def test_shares(self):
        ctid = self.start("--ram", "64M", "--swap", "0", "--numproc", "50", "--name", f"calc{vzhost.os.getpid()}")
        rows = {r["resource"]: r for r in tool("vzcalc", ctid, "--json", check=0).json()}
        share = 64 * MIB / host_ram() * 100
        self.assertAlmostEqual(rows["ram"]["max"], share, 6)
        self.assertAlmostEqual(rows["ram"]["promised"], share, 6)
        self.assertTrue(0 < rows["ram"]["current"] < share)
        self.assertEqual(rows["private"]["max"], "unlimited")
        self.assertTrue(0 < rows["numproc"]["max"] < 100)
        text = tool("vzcalc", "-v", f"calc{vzhost.os.getpid()}", check=0).out.splitlines()
        self.assertEqual(text[0].split(), ["Resource", "Current(%)", "Promised(%)", "Max(%)"])
        self.assertEqual([l.split("  ")[0] for l in text[1:5]], ["Total RAM", "Mem + Swap", "Alloc. Mem", "Num. Proc"])
        self.assertEqual(text[-1].split()[0], "Memory")
        self.assertEqual(tool("vzcalc", ctid, check=0).out.splitlines()[1].split()[2:], text[-1].split()[2:])

    def test_stopped(self):
        ctid = self.create("--ram", "64M", "--swap", "0")
        self.assertEqual(tool("vzcalc", ctid, check=0).out.splitlines()[1].split()[:2], ["Memory", "0.00"])

    def test_bad_input(self):
        for args in ([], ["0"], ["2000000000"], ["nosuchname"], ["-1"], ["101", "102"], ["--format", "xml", "101"]):
            with self.subTest(args=args):
                result = tool("vzcalc", *args)
                self.assertRc(result, 1)
                self.assertEqual(result.out, "")
                self.assertNotEqual(result.err, "")


class Split(vzhost.HostTest):
    def sample(self, name):
        path = pathlib.Path(f"/etc/vz/conf/ve-{name}.conf-sample")
        self.addCleanup(path.unlink, missing_ok=True)
        return path

    def test_a_container_made_of_it_runs(self):
        path = self.sample("split-test")
        tool("vzsplit", "-n", 50, "-f", "split-test", check=0)
        tool("vzcfgvalidate", path, check=0)
        ctid = self.create("--config", "split-test")
        vzctl("start", ctid, "--force", check=0)
        limits = row(ctid)
        pages = int(re.search(r'PHYSPAGES="0:(\d+)M"', path.read_text()).group(1)) * PAGES
        self.assertEqual(limits["physpages"]["limit"], pages)
        self.assertLess(pages * 50, host_ram() // 4096)
        tool("vzcfgvalidate", f"/etc/vz/conf/{ctid}.conf", check=0)
        again = tool("vzsplit", "-n", 5, "-f", "split-test")
        self.assertRc(again, 1)
        self.assertIn("already exists", again.err)
        self.assertIn(f"0:{pages // PAGES}M", path.read_text())

    def test_printed_and_swap(self):
        out = tool("vzsplit", "-n", 4, "-s", "8G", check=0).out
        self.assertIn('SWAPPAGES="0:2048M"', out)
        self.assertIn('SWAPPAGES="0:1M"', tool("vzsplit", "-n", 4, "-s", "4096", check=0).out)

    def test_asks_on_a_terminal(self):
        with Terminal([BIN / "vzsplit"]) as tty:
            tty.expect("Number of containers: ")
            tty.type("7\r")
            self.assertEqual(tty.wait(), 0)
            self.assertIn("7 of them", tty.screen)

    def test_bad_input(self):
        self.sample("split-bad")
        for args in (["-n", "0"], ["-n", "-3"], ["-n", "x"], ["-n", ""], ["-n", "99999999999999999999"], ["-n", "1000000"],
                     ["-n", "4", "-s", "-1"], ["-n", "4", "-s", "1:2"], ["-n", "4", "-s", "lots"], ["-n", "4", "-f", "../x"],
                     ["-n", "4", "-f", ""], ["-n", "4", "-f", "a b"], [], ["4"], ["--nosuch"]):
            with self.subTest(args=args):
                result = tool("vzsplit", *args)
                self.assertRc(result, 1)
                self.assertNotEqual(result.err, "")
        self.assertFalse(pathlib.Path("/etc/vz/x.conf-sample").exists())
        self.assertIn("would fit", tool("vzsplit", "-n", "1000000").err)


class Validate(vzhost.HostTest):
    BAD = ('# mine\nPHYSPAGES="0:64M"\nNUMPROC="40:50"\nLOCKEDPAGES="30000:20000"   # wrong\nUNKNOWN_KEY="kept"\n'
           'VMGUARPAGES="1G:unlimited"\n')

    def file(self, text):
        path = pathlib.Path(vzhost.tempfile.mkdtemp()) / "x.conf"
        self.addCleanup(vzhost.shutil.rmtree, path.parent)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def test_what_vz_itself_writes_is_good(self):
        ctid = self.create("--ram", "64M", "--swap", "64M", "--ipadd", "198.18.9.1", "--hostname", "h", "--numproc", "99")
        result = tool("vzcfgvalidate", f"/etc/vz/conf/{ctid}.conf", check=0)
        self.assertEqual(result.out.splitlines()[-1], "Validation completed: success")
        for sample in pathlib.Path("/etc/vz/conf").glob("ve-*.conf-sample"):
            lines = tool("vzcfgvalidate", sample, check=0).out.splitlines()
            # a small host is no mistake of the sample
            self.assertEqual([l for l in lines if "more than this host's" not in l], ["Validation completed: success"], sample)

    def test_errors_and_repair(self):
        path = self.file(self.BAD)
        found = tool("vzcfgvalidate", path)
        self.assertRc(found, 2)
        self.assertEqual(path.read_text(), self.BAD, "only looked at")
        self.assertRegex(found.out, rf"Error: {path}:4: .*above limit")
        self.assertRegex(found.out, r"Error: SWAPPAGES: ")
        self.assertRegex(found.out, rf"Warning: {path}:5: unknown key UNKNOWN_KEY")
        self.assertRegex(found.out, r"Recommendation: NUMPROC: ")
        mended = tool("vzcfgvalidate", "-r", path)
        self.assertRc(mended, 0)
        text = path.read_text()
        self.assertEqual(text, '# mine\nPHYSPAGES="0:64M"\nNUMPROC="50:50"\nLOCKEDPAGES="64M:64M"   # wrong\nUNKNOWN_KEY="kept"\n'
                         'VMGUARPAGES="64M:unlimited"\nSWAPPAGES="0:0"\n')
        self.assertEqual(path.stat().st_mode & 0o777, 0o644)
        tool("vzcfgvalidate", "-r", path, check=0)
        self.assertEqual(path.read_text(), text, "a second time changes nothing")

    def test_asked(self):
        path = self.file(self.BAD)
        refused = tool("vzcfgvalidate", "-i", path, stdin="n\n" * 20)
        self.assertRc(refused, 2)
        self.assertEqual(path.read_text(), self.BAD)
        self.assertRc(tool("vzcfgvalidate", "-i", path, stdin=""), 2)
        self.assertEqual(path.read_text(), self.BAD)
        self.assertRc(tool("vzcfgvalidate", "-i", path, stdin="y\n" * 20), 0)
        self.assertIn('SWAPPAGES="0:0"', path.read_text())

    def test_what_cannot_be_mended_stays_an_error(self):
        path = self.file('PHYSPAGES="0:64M"\nSWAPPAGES="0:0"\nCPUUNITS="many"\nrubbish\n')
        result = tool("vzcfgvalidate", "-r", path)
        self.assertRc(result, 2)
        self.assertIn("Validation failed: 2 errors", result.out)
        self.assertEqual(len(tool("vzcfgvalidate", "--json", path, check=2).json()), 2)

    def test_a_repaired_container_starts(self):
        ctid = self.create("--ram", "64M", "--swap", "0")
        conf = pathlib.Path(f"/etc/vz/conf/{ctid}.conf")
        conf.write_text("".join(l for l in conf.read_text().splitlines(True) if not l.startswith("SWAPPAGES")))
        self.assertRc(tool("vzcfgvalidate", conf), 2)
        tool("vzcfgvalidate", "-r", conf, check=0)
        vzctl("start", ctid, check=0)

    def test_old_and_forced_kinds(self):
        path = self.file('PRIVVMPAGES="65536:69632"\nKMEMSIZE="14372700:14790164"\nNUMPROC="240:240"\nOOMGUARPAGES="26112:unlimited"\n')
        result = tool("vzcfgvalidate", path, check=2)
        self.assertIn("before VSwap", result.out)
        self.assertIn("--ram 26112P --swap 43520P", result.out)
        self.assertNotIn("before VSwap", tool("vzcfgvalidate", "-v", "yes", path, check=2).out)

    def test_bad_input(self):
        good = self.file('PHYSPAGES="0:64M"\nSWAPPAGES="0:0"\n')
        for args in ([], [good, good], ["/nonexistent"], ["/etc"], ["-r", "-i", good], ["-v", "maybe", good], ["--nosuch", good]):
            with self.subTest(args=args):
                result = tool("vzcfgvalidate", *args)
                self.assertRc(result, 1)
                self.assertNotEqual(result.err, "")
        self.assertRc(tool("vzcfgvalidate", self.file(b"\x00\xff\x1b[31m=\n" * 50)), 2)
        self.assertNotIn("\x1b", tool("vzcfgvalidate", self.file(b'\x1b[31mPHYSPAGES="\x1b[0m"\n')).out)
        self.assertRc(tool("vzcfgvalidate", self.file("")), 2)


class Faces(vzhost.HostTest):
    def test_help_manual_and_completion(self):
        bash = vzctl("completion", "bash", check=0).out
        for name in ("vzmemcheck", "vzcalc", "vzsplit", "vzcfgvalidate"):
            with self.subTest(name=name):
                text = tool(name, "--help", check=0).out
                self.assertTrue(text.startswith(f"Usage: {name} "))
                options = re.findall(r"^  (\S+)", text, re.M)
                rst = vzctl("help", "--rst", name, check=0).out
                for option in options:
                    self.assertIn(f"**{option.split(',')[-1]}**", rst)
                self.assertIn(f"complete -F _{name} {name}", bash)
        run(["bash", "-n"], stdin=bash, check=0)


if __name__ == "__main__":
    vzhost.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Beancounters of containers that really run: held against the truth, limits of vzctl set, vzubc, vzpid, vzcpucheck, events,
and the Python module. Rows that programs in the kernel count are tested in tests/lab/tests/ubtools.py, too."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import BIN, BUILD, run, vzctl, vzlist, wait_for

UNLIMITED = 9223372036854775807
NUMBERS = ("numfile", "numflock", "numpty", "numsiginfo", "numtcpsock", "numothersock")


def tool(name, *args, **kw):
    return run([BIN / name, *args], **kw)


def rows(ctid):
    return next(ct["resources"] for ct in tool("vzubc", "-j", ctid, check=0).json() if ct["ctid"] == ctid)


def held(ctid, name):
    return rows(ctid)[name]["held"]


def limited(name):
    return vzhost.feature(f"ub.{name}")["present"]


def init_of(ctid):
    return json.loads(pathlib.Path(f"/run/vz/{ctid}/state.json").read_text())["init"]["pid"]


class Inside:
    """A Python program in the container's namespaces and groups, on the host's files: the template has no Python."""

    def __init__(self, test, ctid, code):
        self.process = subprocess.Popen([sys.executable, "-c", "import os,sys\nsys.stdin.readline()\n" + code +
                                         "\nprint('ready',flush=True)\nsys.stdin.readline()"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        test.addCleanup(self.end)
        self.join(ctid)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        test.assertEqual(line, "ready\n")

    def join(self, ctid):
        scope = f"vz.slice/vz-{ctid}.scope/ct"
        for mount in {m.split()[4] for m in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in m}:
            for group in (f"{mount}/{scope}/ns", f"{mount}/{scope}"):
                procs = pathlib.Path(group, "cgroup.procs")
                if not procs.exists():
                    continue
                try:
                    procs.write_text(str(self.process.pid))
                    break
                except OSError:  # v2: an inner node
                    continue

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()
        self.process.stdout.close()


class Held(vzhost.HostTest):
    def test_files_and_locks(self):
        ctid = self.start()
        before = rows(ctid)
        Inside(self, ctid, "keep=[open('/dev/null') for _ in range(50)]\n"
                           "import fcntl,tempfile\nf=tempfile.TemporaryFile()\nf.write(b'x'*100)\nf.flush()\n"
                           "[fcntl.lockf(f, fcntl.LOCK_EX, 1, 2*i) for i in range(10)]")
        now = rows(ctid)
        self.assertGreaterEqual(now["numfile"]["held"], before["numfile"]["held"] + 50)
        self.assertLess(now["numfile"]["held"], before["numfile"]["held"] + 70)
        self.assertEqual(now["numflock"]["held"], before["numflock"]["held"] + 10)
        self.assertGreater(now["numproc"]["held"], before["numproc"]["held"])

    def test_pending_signals(self):
        ctid = self.start()
        self.assertLess(held(ctid, "numsiginfo"), 20)
        Inside(self, ctid, "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGRTMIN])\n"
                           "import ctypes\nc=ctypes.CDLL(None)\n[c.sigqueue(os.getpid(),signal.SIGRTMIN,None) for _ in range(20)]")
        self.assertGreaterEqual(held(ctid, "numsiginfo"), 20)

    def test_sockets_and_what_they_hold(self):
        ctid = self.start()
        before = rows(ctid)
        code = (f"import socket,ctypes\nfd=os.open('/proc/{init_of(ctid)}/ns/net',0)\n"
                "assert ctypes.CDLL(None).setns(fd,0x40000000)==0\n"
                "import fcntl,struct\ns=socket.socket()\nfcntl.ioctl(s,0x8914,struct.pack('16sh14x',b'lo',1))\n"
                "l=socket.socket()\nl.bind(('127.0.0.1',0))\nl.listen(5)\n"
                "c=socket.create_connection(l.getsockname())\na,_=l.accept()\nc.sendall(b'x'*20000)\n"
                "u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nu.bind(('127.0.0.1',0))\n"
                "u.sendto(b'y'*500,u.getsockname())\n"
                "p,q=socket.socketpair()\np.sendall(b'z'*3000)\n")
        Inside(self, ctid, code)
        now = rows(ctid)
        self.assertGreaterEqual(now["numtcpsock"]["held"], before["numtcpsock"]["held"] + 3)
        self.assertGreaterEqual(now["numothersock"]["held"], before["numothersock"]["held"] + 3)
        self.assertGreaterEqual(now["tcprcvbuf"]["held"], before["tcprcvbuf"]["held"] + 20000)
        self.assertGreaterEqual(now["dgramrcvbuf"]["held"], before["dgramrcvbuf"]["held"] + 500)
        self.assertGreaterEqual(now["othersockbuf"]["held"], before["othersockbuf"]["held"] + 3000)

    def test_terminals(self):
        ctid = self.start()
        before = held(ctid, "numpty")
        self.assertIsNotNone(before)
        code = (f"root=os.open('/proc/{init_of(ctid)}/root',os.O_PATH)\n"
                "keep=[os.open('dev/pts/ptmx',os.O_RDWR|os.O_NOCTTY,dir_fd=root) for _ in range(3)]")
        inside = Inside(self, ctid, code)
        self.assertEqual(held(ctid, "numpty"), before + 3)
        inside.end()
        wait_for(lambda: held(ctid, "numpty") == before, what="terminals to go")

    def test_packet_filter_rules(self):
        nft = run(["sh", "-c", "command -v nft"]).out.strip()
        if not nft:
            self.skipTest("nft is not installed")
        ctid = self.start()
        before = held(ctid, "numiptent")
        rules = "add table t; add chain t c; " + "".join("add rule t c counter; " for _ in range(7))
        run(["nsenter", "-t", init_of(ctid), "-n", "nft", rules], check=0)
        self.assertEqual(held(ctid, "numiptent"), before + 7)

    def test_nothing_of_a_container_keeps_the_reader_waiting(self):
        """A devpts that is covered by another mount is not looked through, nor anything else inside."""
        ctid = self.start()
        self.inside(ctid, "mount -t tmpfs none /dev/pts")
        self.assertIsNone(held(ctid, "numpty") if not limited("numpty") else None)
        self.assertIsNotNone(held(ctid, "numfile"))


class Limits(vzhost.HostTest):
    def test_what_is_not_enforced_is_refused_and_forced(self):
        if limited("numfile"):
            self.skipTest("this host limits numfile")
        ctid = self.start()
        refused = vzctl("set", ctid, "--numfile", "100")
        self.assertRc(refused, 171)
        self.assertIn("--numfile 100", refused.err)
        self.assertIn("vzctl check", refused.err)
        self.assertEqual(rows(ctid)["numfile"]["limit"], UNLIMITED)
        forced = vzctl("set", ctid, "--numfile", "100:120", "--force", "--save", check=0)
        self.assertIn("not enforced on this host: NUMFILE", forced.err)
        self.assertEqual((rows(ctid)["numfile"]["barrier"], rows(ctid)["numfile"]["limit"]), (100, 120))
        vzctl("set", ctid, "--numfile", "unlimited", "--save", check=0)
        self.assertEqual(rows(ctid)["numfile"]["limit"], UNLIMITED, "to lift a limit is never refused")

    def test_shared_memory_is_refused_where_no_program_limits_it(self):
        if limited("shmpages"):
            self.skipTest("this host limits shmpages")
        ctid = self.start()
        refused = vzctl("set", ctid, "--shmpages", "100")
        self.assertRc(refused, 171)
        self.assertIn("its BPF program is not loaded", refused.err)
        self.assertEqual(rows(ctid)["shmpages"]["limit"], UNLIMITED)

    def test_locked_memory_is_refused_everywhere(self):
        ctid = self.start()
        before = rows(ctid)["lockedpages"]["limit"]
        refused = vzctl("set", ctid, "--lockedpages", "100")
        self.assertRc(refused, 171)
        self.assertIn("int 0x80", refused.err)
        self.assertEqual(rows(ctid)["lockedpages"]["limit"], before)

    def test_a_configuration_of_openvz_starts_with_a_warning(self):
        ctid = self.create()
        path = pathlib.Path(f"/etc/vz/conf/{ctid}.conf")
        path.write_text(path.read_text() + 'NUMFILE="1000:1000"\nNUMPTY="16:16"\nKMEMSIZE="14372700:14790164"\n'
                        'TCPSNDBUF="1720320:2703360"\nNUMFLOCK="188:206"\n')
        started = vzctl("start", ctid, check=0)
        self.assertRegex(started.err, r"Warning: not enforced on this host: .*KMEMSIZE")
        self.assertEqual("NUMFILE" in started.err, not limited("numfile"))
        self.assertEqual(rows(ctid)["numflock"]["barrier"], 188)
        self.assertEqual(rows(ctid)["kmemsize"]["limit"], 14790164)

    def test_applying_a_sample_warns(self):
        ctid = self.start()
        pathlib.Path("/etc/vz/conf/ve-old.conf-sample").write_text('KMEMSIZE="14372700:14790164"\nNUMPROC="100:100"\n')
        done = vzctl("set", ctid, "--applyconfig", "old", "--save", check=0)
        self.assertIn("not enforced on this host: KMEMSIZE", done.err)
        self.assertEqual(rows(ctid)["numproc"]["limit"], 100)

    def test_reset_ub(self):
        ctid = self.start("--numproc", "50")
        vzctl("set", ctid, "--numproc", "60", check=0)
        self.assertEqual(rows(ctid)["numproc"]["limit"], 60)
        group = self.pids_max(ctid)
        group.write_text("33")
        vzctl("set", ctid, "--reset_ub", check=0)
        self.assertEqual(rows(ctid)["numproc"]["limit"], 50)
        self.assertEqual(group.read_text().strip(), "50")
        group.write_text("33")
        vzctl("set", ctid, "--reset_ub", check=0)
        self.assertEqual(group.read_text().strip(), "50", "told again, though nothing has changed")
        self.assertRc(vzctl("set", ctid, "--reset_ub", "--save"), 20)

    def pids_max(self, ctid):
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            path = pathlib.Path(line.split()[4], f"vz.slice/vz-{ctid}.scope/ct/pids.max")
            if " - cgroup" in line and path.exists():
                return path
        self.skipTest("this host has no pids controller")

    def test_bad_values(self):
        ctid = self.start()
        for value in ("200:100", "x", "-1", "1K", "", "1:2:3"):
            with self.subTest(value=value):
                self.assertRc(vzctl("set", ctid, "--numfile", value), 21)
        self.assertNotEqual(vzctl("set", ctid, "--numpotato", "1").rc, 0)

    def test_counters_end_with_the_container(self):
        ctid = self.start("--numproc", "20")
        vzctl("exec2", ctid, "for i in $(seq 40); do sleep 2 & done 2>/dev/null")
        self.assertGreater(rows(ctid)["numproc"]["failcnt"], 0)
        vzctl("restart", ctid, "--fast", check=0)
        self.assertEqual(rows(ctid)["numproc"]["failcnt"], 0)
        vzctl("stop", ctid, "--fast", check=0)
        self.assertFalse(pathlib.Path(f"/run/vz/{ctid}").exists())


class Vzubc(vzhost.HostTest):
    def test_what_it_shows(self):
        ctid = self.start("--ram", "64M", "--swap", "0", "--numproc", "40", "--name", "shown")
        lines = tool("vzubc", "shown", check=0).out.splitlines()
        self.assertIn(f"CT {ctid} (shown)", lines)
        self.assertEqual(len(lines), 4 + 21 + 1)
        self.assertEqual({len(l) for l in lines if "|" in l and "HELD" not in l}, {len(lines[0])}, "one width")
        numproc = next(l for l in lines if l.lstrip().startswith("numproc|")).split("|")
        self.assertEqual((numproc[3].strip(), numproc[4].strip()), ("40", "40"))
        other = self.start()
        self.assertEqual([ct["ctid"] for ct in tool("vzubc", "-j", check=0).json()], sorted([ctid, other]))

    def test_changes_since_the_last_look(self):
        ctid = self.start("--numproc", "20")
        look = lambda *o: tool("vzubc", "-r", "-i", "-j", *o, check=0).json()[0]["resources"]["numproc"]  # noqa: E731
        first = look("-C")
        self.assertIsNone(first["held_change"])
        first_again = look()
        self.assertEqual(first_again["held_change"], first_again["held"] - first["held"])
        vzctl("exec2", ctid, "for i in $(seq 40); do sleep 1 & done 2>/dev/null")
        second = look()
        self.assertEqual(second["failcnt_change"], second["failcnt"] - first["failcnt"])
        self.assertGreater(second["failcnt_change"], 0)
        self.assertEqual(look()["failcnt_change"], 0)
        self.assertIn("numproc", tool("vzubc", "-q", check=0).out)
        self.assertNotIn("numproc|", tool("vzubc", "-q", "-r", "-qh", "0", "-qm", "0", check=0).out)
        self.assertEqual(pathlib.Path("/run/vz/vzubc").stat().st_mode & 0o022, 0)

    def test_watching(self):
        self.start()
        twice = tool("vzubc", "-w", "-n", "2", "-wt", "0.1", check=0).out
        self.assertEqual(twice.count("CHANGE"), 2)
        watching = subprocess.Popen([BIN / "vzubc", "-w"], stdout=subprocess.PIPE)
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(timeout=10), -signal.SIGINT)
        watching.stdout.close()

    def test_a_file(self):
        text = (vzhost.SOURCE / "tests/data/beancounters/user_beancounters").read_text()
        self.assertIn("CT 1002", tool("vzubc", "-f", "-", stdin=text, check=0).out)
        self.assertEqual([c["ctid"] for c in tool("vzubc", "-f", "-", "-j", "101", stdin=text, check=0).json()], [101])

    def test_bad_input(self):
        for args in (["--nosuch"], ["99"], ["no such"], ["--format", "csv"], ["-f", "/nonexistent"], ["-w", "-t", "x"],
                     ["-w", "-t", "-1"], ["-q", "-h", "nan"], ["-f", "/etc/passwd"]):
            with self.subTest(args=args):
                result = tool("vzubc", *args)
                self.assertRc(result, 1)
                self.assertEqual(result.out, "")
        self.assertEqual(tool("vzubc", check=0).out, "", "no containers")


class Small(vzhost.HostTest):
    def test_vzpid(self):
        ctid = self.start()
        pid = init_of(ctid)
        self.assertEqual(tool("vzpid", pid, os.getpid(), check=0).out.splitlines()[0], "Pid\tCTID\tName")
        found = tool("vzpid", "-j", pid, os.getpid(), check=0).json()
        self.assertEqual([(p["pid"], p["ctid"]) for p in found], [(pid, ctid), (os.getpid(), 0)])
        self.assertEqual(found[0]["inside"], 1)
        self.assertIn(f"{pid}\t1\t{ctid}\t", tool("vzpid", "-p", "-", stdin=f"{pid}\n", check=0).out)
        missing = tool("vzpid", "4194304", pid)
        self.assertRc(missing, 1)
        self.assertIn(str(ctid), missing.out)
        for word in ("x", "0", "-1", "1.5", "99999999999999999999", ""):
            self.assertRc(tool("vzpid", word), 1)

    def test_vzcpucheck(self):
        self.start("--cpuunits", "500")
        ctid = self.start()
        self.create("--cpuunits", "4000")
        cpus = os.sysconf("SC_NPROCESSORS_ONLN")
        self.assertEqual(tool("vzcpucheck", check=0).out,
                         f"Current CPU utilization: {1000 + 500 + 1000}\nPower of the node: {1000 * cpus}\n")
        self.assertEqual(tool("vzcpucheck", "-a", "-j", check=0).json()["utilization"], 6500)
        self.assertIn([str(ctid), "1000"], [l.split() for l in tool("vzcpucheck", "-v", check=0).out.splitlines()])

    def test_vzcalc_shows_the_secondary_ones(self):
        ctid = self.start("--ram", "64M", "--swap", "0")
        names = [l[:12].strip() for l in tool("vzcalc", "-v", ctid, check=0).out.splitlines()]
        for name in ("Kernel Mem", "Num. File", "Num. Pty", "TCP Receive"):
            self.assertIn(name, names)
        found = {r["resource"]: r for r in tool("vzcalc", "-j", ctid, check=0).json()}
        self.assertGreater(found["kmemsize"]["current"], 0)

    def test_check_names_every_hook(self):
        for name in NUMBERS:
            row = vzhost.feature(f"ub.{name}")
            self.assertTrue(row["present"] or (row["detail"] and row["consequence"] and row["remedy"]), row)

    def test_vzlist_has_all_parts(self):
        ctid = self.start("--numproc", "30")
        listed = vzlist("-j", ctid, check=0).json()[0]
        for name in rows(ctid):
            self.assertEqual(set(listed[name]), {"held", "maxheld", "barrier", "limit", "failcnt"}, name)
        line = vzlist("-H", "-o", "numproc.b,numproc.l,numfile,numfile.l", ctid, check=0).out.split()
        self.assertEqual(line[:2], ["30", "30"])
        self.assertGreater(int(line[2]), 0)


class Python(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        if run([sys.executable, "-c", "import cffi"]).rc != 0:
            raise unittest.SkipTest("python3-cffi is not installed")
        cls.env = {"PYTHONPATH": str(BUILD / "python"), "LD_LIBRARY_PATH": str(BUILD / "libvz")}

    def python(self, code, **kw):
        return run([sys.executable, "-B", "-c", "import vz\n" + code], env=self.env, **kw)

    def test_reads_what_vzubc_shows(self):
        ctid = self.start("--numproc", "35")
        code = ("import json\nwith vz.Beancounters() as b:\n"
                "  print(json.dumps({c.ctid: {n: k._asdict() for n, k in c.counters.items()} for c in b.read()}))")
        mine = json.loads(self.python(code, check=0).out)[str(ctid)]
        theirs = rows(ctid)
        self.assertEqual(set(mine), set(theirs))
        self.assertEqual(mine["numproc"], {k: theirs["numproc"][k] for k in mine["numproc"]})
        self.assertEqual(mine["numfile"]["held"], theirs["numfile"]["held"])

    def test_table(self):
        out = self.python("b=vz.Beancounters()\nr=b.resources[19]\nprint(len(b.resources), r.name, r.unit, r.error)", check=0).out
        self.assertEqual(out.split(), ["25", "numfile", "objects", "23"])

    def test_events(self):
        ctid = self.start("--numproc", "20")
        code = ("with vz.Beancounters() as b:\n  events=b.events(interval=0.1, thresholds={'numproc': 50}, timeout=60)\n"
                "  print('ready', flush=True)\n  kinds=set()\n"
                "  for e in events:\n    print(e.kind, e.ctid, e.resource, flush=True)\n    kinds.add(e.kind)\n"
                "    if {'refused','threshold','stopped'} <= kinds: break\n")
        reader = subprocess.Popen([sys.executable, "-B", "-c", "import vz\n" + code], stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, **self.env})
        self.addCleanup(reader.stdout.close)
        self.assertEqual(reader.stdout.readline(), "ready\n")
        vzctl("exec2", ctid, "for i in $(seq 40); do sleep 3 & done 2>/dev/null; sleep 1")
        vzctl("stop", ctid, "--fast", check=0)
        told = reader.stdout.read().split("\n")
        self.assertEqual(reader.wait(), 0)
        self.assertIn(f"refused {ctid} numproc", told)
        self.assertIn(f"threshold {ctid} numproc", told)

    def test_errors(self):
        bad = self.python("vz.Beancounters(etc='/nonexistent')")
        self.assertNotEqual(bad.rc, 0)
        self.assertIn("vz.Error", bad.err)
        self.assertIn("/nonexistent/vz.conf", bad.err)
        self.assertEqual(self.python("b=vz.Beancounters()\nb.close()\ntry:\n  b.read()\nexcept ValueError: print('closed')",
                                     check=0).out, "closed\n")


if __name__ == "__main__":
    vzhost.main()

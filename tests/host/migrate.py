#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers move between two nodes; whoever is killed at whatever step, one node can run them, and only one."""
import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
import segment
from node import VZCTL, Node, hierarchies, large_pipes
from vzhost import run, vzctl

MIB = 1 << 20
BROKEN_CRIU = "ls -d /run/vz/criu/*/root >/dev/null 2>&1 && exit 1\nexec /mnt/criu \"$@\""


def journal(ctid, root=pathlib.Path("/")):
    path = root / "var/lib/vz/migrate" / f"{ctid}.json"
    return json.loads(path.read_text()) if path.exists() else None


class MigrateTest(vzhost.HostTest):
    area = None  # of the private areas, when the nodes share it

    def setUp(self):
        self.b = Node(self)

    def share_area(self):
        """On this machine all nodes have /var/tmp."""
        self.area = pathlib.Path(tempfile.mkdtemp(prefix="vz-shared-", dir=os.environ.get("VZ_TEST_DIR", "/var/tmp")))
        self.addCleanup(shutil.rmtree, self.area, ignore_errors=True)

    def make(self, *options, **kw):
        shared = ["--private", f"{self.area}/$VEID"] if self.area else []
        ctid = self.create(*shared, *options, **kw)
        self.addCleanup(self.b.wipe, ctid)
        return ctid

    def migrate(self, ctid, *options, transport=None, **kw):
        return vzctl("migrate", ctid, "b", "--transport", transport or self.b.transport(), *options, **kw)

    def assertHere(self, ctid, running):
        words = self.status(ctid)
        self.assertEqual((words[0], words[2]), ("exist", "running" if running else "down"), words)
        self.assertEqual(self.b.vzctl("status", ctid, check=0).out.split()[2:][0], "deleted")

    def assertThere(self, ctid, running):
        words = self.b.vzctl("status", ctid, check=0).out.split()[2:]
        self.assertEqual((words[0], words[2]), ("exist", "running" if running else "down"), words)
        self.assertEqual(self.status(ctid)[0], "deleted")

    def check_data(self, ctid, expected):
        self.assertEqual(self.b.vzctl("exec2", ctid, "md5sum /data | cut -d' ' -f1", check=0).out.strip(), expected)

    def worker(self, ctid, *arguments, name="dirty_worker"):
        program = self.b.work / name
        source = pathlib.Path(vzhost.__file__).parent / f"{name}.c"
        run(["gcc", "-O2", "-static", "-pthread", "-o", program, source], check=0)
        vzctl("start", ctid, check=0)
        vzctl("exec", ctid, "cat >/worker; chmod 755 /worker", stdin=program.read_bytes(), check=0)
        self.inside(ctid, f"/worker {' '.join(map(str, arguments))} >/log 2>&1 </dev/null &")
        vzhost.wait_for(lambda: "ok" in self.inside(ctid, "cat /log"), what="the worker")

    def busy(self, *options):
        """A container that runs; with --lazy one with memory that is worth it."""
        lazy = "--lazy" in options
        ctid = self.make(*(["--ram", "128M", "--swap", "0"] if lazy else []))
        if lazy:
            self.worker(ctid, 40, 5)
        else:
            vzctl("start", ctid, check=0)
        return ctid

    def steps(self, side, *options):
        trace = pathlib.Path(f"/tmp/vz-migrate-steps.{os.getpid()}")
        self.addCleanup(trace.unlink, missing_ok=True)
        ctid = self.busy(*options)
        environment = {"VZ_FAULT_TRACE": str(trace)}
        if side == "source":
            self.migrate(ctid, *options, check=0, env=environment)
        else:
            self.migrate(ctid, *options, check=0, transport=self.b.transport(**environment))
        out = vzhost.numbered(trace.read_text().split())
        self.assertGreater(len(out), 8, out)
        if "--lazy" in options and side == "destination":
            self.assertIn("restore.made", " ".join(out), "nothing was late")
        return out

    @staticmethod
    def events(ctid, node):
        return [path for path in vzhost.cgroups(ctid, "ct/cgroup.events") if ("/vz-node-" in str(path)) == (node == "b")]

    def frozen(self, ctid, node):
        """By cgroup v2: what is left of it there is ended, or will be, and does not run until then."""
        return any("frozen 1" in path.read_text() for path in self.events(ctid, node))

    def ways(self):
        """To b and back: who moves it, who has it then, and the arguments."""
        return [(vzctl, self.b.vzctl, ["b", "--transport", self.b.transport()]),
                (self.b.vzctl, vzctl, ["a", "--transport", self.b.back()])]

    def owner(self, ctid):
        """Who can start it. Both having files is fine, both being able to start is not."""
        out = []
        for name, call in (("a", vzctl), ("b", self.b.vzctl)):
            if call("status", ctid, check=0).out.split()[2] != "exist":
                continue
            started = call("start", ctid)
            if started.rc in (0, 32):
                out.append(name)
        return out


class Moves(MigrateTest):
    def moved_and_back(self, *options, **kw):
        ctid = self.make("--name", f"m{os.getpid()}", "--ram", "64M", "--swap", "0", *options, **kw)
        vzctl("start", ctid, check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/data bs=1M count=8 2>/dev/null; ln -s /data /link; "
                          "mkfifo /fifo; chown 33:44 /data; chmod 2751 /data; sync")
        md5 = self.inside(ctid, "md5sum /data").split()[0]
        look = self.inside(ctid, "ls -ln /data /link /fifo")
        config = pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()
        self.migrate(ctid, check=0)
        self.assertThere(ctid, running=True)
        self.check_data(ctid, md5)
        self.assertEqual(self.b.vzctl("exec2", ctid, "ls -ln /data /link /fifo", check=0).out, look)
        self.assertEqual(self.b.path(f"/etc/vz/conf/{ctid}.conf").read_text(), config)
        self.assertEqual(self.b.vzctl("status", f"m{os.getpid()}", check=0).out.split()[1], str(ctid))
        self.assertEqual((journal(ctid), journal(ctid, self.b.path("/"))), (None, None))
        self.assertFalse(pathlib.Path(f"/var/lib/vz/private/{ctid}").exists())
        self.b.vzctl("migrate", ctid, "a", "--transport", self.b.back(), check=0)
        self.assertHere(ctid, running=True)
        self.assertEqual(self.inside(ctid, "md5sum /data").split()[0], md5)

    def test_an_image_there_and_back(self):
        self.moved_and_back()

    def test_a_directory_there_and_back(self):
        self.moved_and_back("--layout", "dir", "--diskspace", "unlimited", "--diskinodes", "unlimited")

    def test_one_that_does_not_run(self):
        ctid = self.make()
        report = self.migrate(ctid, "--json", check=0).json()
        self.assertEqual((report["mode"], report["started"], report["down_milliseconds"]), ("offline", False, 0))
        self.assertThere(ctid, running=False)
        self.b.vzctl("start", ctid, check=0)

    def text(self, **kw):
        """A container with 20 MiB that shrink to a quarter."""
        ctid = self.make(diskspace="128M", **kw)
        vzctl("start", ctid, check=0)
        self.inside(ctid, "seq 1 2700000 >/data; sync")
        md5 = self.inside(ctid, "md5sum /data").split()[0]
        vzctl("stop", ctid, check=0)
        return ctid, md5

    def arrived(self, ctid, md5):
        self.b.vzctl("start", ctid, check=0)
        self.check_data(ctid, md5)

    def test_compressed(self):
        ctid, md5 = self.text()
        moved = vzctl("--progress=json", "migrate", ctid, "b", "--transport", self.b.transport(), "--json",
                      "--compress", "yes", check=0)
        lines = [json.loads(line) for line in moved.err.splitlines()]
        self.assertEqual({line["stage"] for line in lines}, {"copy"})
        self.assertEqual({line["total"] for line in lines}, {128 * MIB})
        self.assertEqual([line["done"] for line in lines], sorted(line["done"] for line in lines))
        report = moved.json()
        self.assertLess(report["bytes_sent"], report["bytes_uncompressed"] * 0.6)
        self.assertGreater(report["bytes_uncompressed"], 19 * MIB)
        self.arrived(ctid, md5)
        self.b.vzctl("stop", ctid, check=0)
        back = self.b.vzctl("migrate", ctid, "a", "--transport", self.b.back(), "--json", "--compress", "no", check=0).json()
        self.assertEqual(back["bytes_sent"], back["bytes_uncompressed"])

    def test_a_slow_connection_is_worth_compressing(self):
        """Nobody says so: it is seen while the disk is sent."""
        ctid, md5 = self.text()
        slow = ("import os, sys, time\nwhile data := os.read(0, 65536):\n"
                "  sys.stdout.buffer.write(data); sys.stdout.buffer.flush(); time.sleep(len(data) / 4e6)")
        (self.b.work / "slow.py").write_text(slow)
        transport = self.b.executable("slow", f"python3 {self.b.work}/slow.py | {self.b.transport()}")
        said = self.migrate(ctid, transport=str(transport), check=0).out
        self.assertRegex(said, r"sent \(compressed; [\d.]+ MiB before\)")
        self.arrived(ctid, md5)

    def test_no_faster_than_allowed(self):
        ctid, md5 = self.text()
        report = self.migrate(ctid, "--json", "--compress", "no", "--bandwidth", "16M", check=0).json()
        self.assertGreater(report["bytes_sent"], 19 * MIB)
        self.assertGreater(report["total_milliseconds"], (report["bytes_sent"] - MIB) * 1000 / (16 * MIB) - 60)
        self.arrived(ctid, md5)

    def test_what_changes_meanwhile_arrives(self):
        """A writer never stops; what it has written when the container ends is there, and holes stay holes."""
        ctid = self.make(diskspace="256M")
        vzctl("start", ctid, check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/big bs=1M count=40 2>/dev/null; sync")
        self.inside(ctid, "(i=0; while :; do i=$((i+1)); echo $i >>/log; echo $i >/last; dd if=/dev/urandom of=/churn "
                          "bs=64k count=4 2>/dev/null; sync; done) >/dev/null 2>&1 &")
        big = self.inside(ctid, "md5sum /big").split()[0]
        report = self.migrate(ctid, "--json", check=0).json()
        self.assertEqual(report["mode"], "near-live")
        self.assertGreaterEqual(len(report["passes"]), 2)
        self.assertTrue(report["passes"][-1]["stopped"])
        self.assertLess(report["passes"][-1]["sent"], 20 * MIB)
        self.assertGreaterEqual(report["passes"][0]["sent"], 40 * MIB)
        self.assertLess(report["passes"][0]["sent"], 120 * MIB, "the image's holes were sent")
        self.assertEqual(self.b.vzctl("exec2", ctid, "md5sum /big", check=0).out.split()[0], big)
        log, last = self.b.vzctl("exec2", ctid, "tail -n 1 /log; cat /last", check=0).out.split()
        self.assertLessEqual(int(log) - int(last), 1)
        image = self.b.path(f"/var/lib/vz/private/{ctid}/root.img").stat()
        self.assertLess(image.st_blocks * 512, image.st_size * 3 // 4)

    def test_the_old_one_is_kept(self):
        ctid = self.make()
        self.addCleanup(run, ["rm", "-rf", f"/var/lib/vz/private/{ctid}.migrated", f"/etc/vz/conf/{ctid}.conf.migrated"])
        self.migrate(ctid, "--remove-area", "no", check=0)
        self.assertThere(ctid, running=False)
        self.assertTrue(pathlib.Path(f"/var/lib/vz/private/{ctid}.migrated/root.img").exists())
        self.assertTrue(pathlib.Path(f"/etc/vz/conf/{ctid}.conf.migrated").exists())

    def test_usage_goes_on(self):
        ctid = self.make()
        vzctl("start", ctid, check=0)
        self.inside(ctid, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done")
        def seconds(entries):
            return next(e["cpu_seconds"] for e in entries if e["ctid"] == ctid and not e["destroyed"])
        before = seconds(run([vzhost.BIN / "vzstat", "--json", ctid], check=0).json()["containers"])
        self.assertGreater(before, 0.01)
        self.migrate(ctid, check=0)
        there = run([*self.b.enter(), vzhost.BIN / "vzstat", "--json", ctid], check=0).json()["containers"]
        self.assertGreaterEqual(seconds(there), before)

    def test_check_only_changes_nothing(self):
        ctid = self.make()
        vzctl("start", ctid, check=0)
        said = self.migrate(ctid, "--check-only", check=0)
        self.assertIn("near-live", said.out)
        self.assertHere(ctid, running=True)
        self.assertIsNone(journal(ctid))

    def test_vzmigrate(self):
        one, two = self.make(), self.make()
        done = run([vzhost.BIN / "vzmigrate", "--transport", self.b.transport(), "-r", "yes", "-t", "b", one, two])
        self.assertRc(done, 0)
        self.assertThere(one, running=False)
        self.assertThere(two, running=False)
        self.assertRc(run([vzhost.BIN / "vzmigrate", "--transport", self.b.transport(), "b", one]), 10)


class LiveTest(MigrateTest):
    PROGRAM = ("i=0; s=$(head -c 300000 /dev/urandom | md5sum); while :; do i=$((i+1)); echo $$ $i $s >/dev/shm/now; "
               "echo $i >>/log; sleep 0.05; done")

    def setUp(self):
        super().setUp()
        criu = vzhost.feature("criu")
        if not criu["present"]:
            self.skipTest(f"CRIU: {criu['detail']}")

    def start_program(self, ctid):
        vzctl("start", ctid, check=0)
        self.inside(ctid, f"mkdir -p /dev/shm; ({self.PROGRAM}) >/dev/null 2>&1 </dev/null & ")
        return vzhost.wait_for(lambda: self.look(vzctl, ctid), what="the program")

    @staticmethod
    def look(call, ctid):
        words = call("exec2", ctid, "cat /dev/shm/now").out.split()
        return words if len(words) >= 3 else None

    def goes_on(self, call, ctid, before):
        after = vzhost.wait_for(lambda: self.look(call, ctid), what="the program, after the move")
        self.assertEqual((after[0], after[2]), (before[0], before[2]), "another process")
        vzhost.wait_for(lambda: int((self.look(call, ctid) or after)[1]) > int(after[1]), what="that it goes on")
        log = [int(n) for n in call("exec2", ctid, "cat /log", check=0).out.split()]
        self.assertEqual(log, list(range(1, log[-1] + 1)), "a step is missing, or was done twice")

    def break_criu(self):
        """On the other host, from the moment on when everything has arrived there."""
        own = pathlib.Path("/usr/local/lib/vz/criu/criu")
        criu = own if own.exists() else pathlib.Path(shutil.which("criu"))
        run([*self.b.enter(), "mount", "--bind", criu.parent, "/mnt"], check=0)
        run([*self.b.enter(), "mount", "--bind", self.b.executable("criu", BROKEN_CRIU), criu], check=0)


class Live(LiveTest):
    """With memory: programs go on where they were."""

    def test_there_and_back(self):
        ctid = self.make("--ram", "64M", "--swap", "0")
        before = self.start_program(ctid)
        report = self.migrate(ctid, "--live", "--json", check=0).json()
        self.assertEqual((report["mode"], report["started"]), ("live", True))
        print(f"# stopped for {report['down_milliseconds']} ms, {report['bytes_sent']} bytes sent", flush=True)
        self.assertThere(ctid, running=True)
        self.goes_on(self.b.vzctl, ctid, before)
        self.b.vzctl("migrate", ctid, "a", "--online", "--transport", self.b.back(), check=0)
        self.assertHere(ctid, running=True)
        self.goes_on(vzctl, ctid, before)

    def test_the_hosts_own_groups_do_not_come_along(self):
        """Where vz keeps no groups, on cgroup v1, it is in its host's root, below which all others are."""
        ctid = self.make("--ram", "64M", "--swap", "0")
        self.start_program(ctid)
        groups = [top / f"vz-others-{os.getpid()}" for top in hierarchies()]
        for group in groups:
            group.mkdir()
            self.addCleanup(group.rmdir)
        self.migrate(ctid, "--live", check=0)
        for top in self.b.groups:
            self.assertEqual([*top.rglob(groups[0].name)], [])

    def test_a_suspended_one_stays_suspended(self):
        ctid = self.make("--ram", "64M", "--swap", "0")
        before = self.start_program(ctid)
        vzctl("suspend", ctid, check=0)
        self.migrate(ctid, check=0)
        self.assertIn("suspended", self.b.vzctl("status", ctid, check=0).out)
        self.b.vzctl("resume", ctid, check=0)
        self.goes_on(self.b.vzctl, ctid, before)

    def test_ids_that_are_taken_there(self):
        """Every host gives out the same ranges: who comes gets another one, and nothing inside shows it."""
        self.migrate(self.make(), check=0)
        for suspended in (False, True):
            ctid = self.make("--ram", "64M", "--swap", "0")
            before = self.start_program(ctid)
            self.inside(ctid, "for d in /root /dev/shm; do echo 1 >$d/own; chown 1000:2000 $d/own; done; mkfifo -m 600 /dev/shm/pipe; "
                        "mkdir -p /mnt/t; mount -t tmpfs -o uid=12,gid=13,mode=750 none /mnt/t; "
                        "(setuidgid 1000:2000 sleep 1000 || true) >/dev/null 2>&1 </dev/null &")
            look = ("stat -c '%n %u:%g %a' /root/own /dev/shm/* /mnt/t /mnt/t /dev/null /dev/pts; cat /proc/self/uid_map | wc -l; "
                    "grep -h '^[UG]id' /proc/[1-9]*/status | sort | uniq")
            inside = self.inside(ctid, look)

            def base(call):
                return call("exec2", ctid, "cat /proc/self/uid_map", check=0).out.split()[1]
            here = base(vzctl)
            if suspended:
                vzctl("suspend", ctid, check=0)
                self.migrate(ctid, check=0)
                self.b.vzctl("resume", ctid, check=0)
            else:
                self.migrate(ctid, "--live", check=0)
            self.goes_on(self.b.vzctl, ctid, before)
            self.assertNotEqual(base(self.b.vzctl), here)
            self.assertEqual(self.b.vzctl("exec2", ctid, look, check=0).out, inside)
            self.b.vzctl("suspend", ctid, check=0)  # and what it is now can be saved again
            self.b.vzctl("resume", ctid, check=0)
            self.goes_on(self.b.vzctl, ctid, before)

    def test_what_the_other_host_cannot_continue_goes_on_here(self):
        """Its CRIU fails when everything is there: the container goes on here, and nothing of it is left there."""
        ctid = self.make("--ram", "64M", "--swap", "0")
        before = self.start_program(ctid)
        self.break_criu()
        failed = self.migrate(ctid, "--live")
        self.assertRc(failed, 17)
        self.assertHere(ctid, running=True)
        self.goes_on(vzctl, ctid, before)
        self.assertEqual((journal(ctid), journal(ctid, self.b.path("/"))), (None, None))


    def test_dropped_where_it_was_held(self):
        """The other host dies with the container complete and waiting; later its copy is thrown away there."""
        ctid = self.make("--ram", "64M", "--swap", "0")
        before = self.start_program(ctid)
        failed = self.migrate(ctid, "--live", transport=self.b.transport(VZ_FAULT="restore.held:1"))
        self.assertNotEqual(failed.rc, 0, repr(failed))
        self.goes_on(vzctl, ctid, before)
        self.assertEqual(journal(ctid, self.b.path("/"))["phase"], "held")
        self.assertRc(self.b.vzctl("start", ctid), 9)
        self.b.vzctl("migrate", ctid, "--resolve", "--drop", check=0)
        self.assertEqual(journal(ctid, self.b.path("/")), None)
        self.assertHere(ctid, running=True)
        self.goes_on(vzctl, ctid, before)


class OtherTransports(LiveTest):
    """Where ssh's encryption is not wanted, or not fast enough: any command that carries bytes, as migration.rst says."""

    def listen(self, socat):
        port = 20000 + os.getpid() % 20000
        server = subprocess.Popen([*self.b.enter(), "socat", f"{socat.format(port=port)},reuseaddr", f"EXEC:{VZCTL} agent"],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (server.kill(), server.wait()))
        listens = f":{port:04X} 00000000:0000 0A"
        vzhost.wait_for(lambda: listens in run([*self.b.enter(), "cat", "/proc/net/tcp"], check=0).out, what="the listener")
        return port

    def arrives(self, transport):
        ctid = self.make("--ram", "64M", "--swap", "0")
        before = self.start_program(ctid)
        self.migrate(ctid, "--live", transport=f"nsenter -t {self.b.holder.pid} -n {transport}", check=0)
        self.assertThere(ctid, running=True)
        self.goes_on(self.b.vzctl, ctid, before)

    def test_plain(self):
        port = self.listen("TCP-LISTEN:{port},bind=127.0.0.1")
        self.arrives(f"socat - TCP:127.0.0.1:{port}")

    def test_tls(self):
        """Each side shows a certificate, and knows the other's."""
        for name in ("a", "b"):
            run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                 "-keyout", self.b.work / f"{name}.key", "-out", self.b.work / f"{name}.crt"], check=0)
            (self.b.work / f"{name}.pem").write_bytes(b"".join((self.b.work / f"{name}.{kind}").read_bytes() for kind in ("key", "crt")))
        port = self.listen(f"OPENSSL-LISTEN:{{port}},bind=127.0.0.1,cert={self.b.work}/b.pem,cafile={self.b.work}/a.crt")
        to = f"socat - OPENSSL:127.0.0.1:{port},commonname=b,cafile={self.b.work}/b.crt,cert={self.b.work}"
        ctid = self.make("--ram", "64M", "--swap", "0")
        vzctl("start", ctid, check=0)
        stranger = self.migrate(ctid, "--live", transport=f"nsenter -t {self.b.holder.pid} -n {to}/b.pem")
        self.assertRc(stranger, 173)
        self.assertHere(ctid, running=True)
        port = self.listen(f"OPENSSL-LISTEN:{{port}},bind=127.0.0.1,cert={self.b.work}/b.pem,cafile={self.b.work}/a.crt")
        self.arrives(f"{to}/a.pem")


class SharedStorage(LiveTest):
    """The private area is on storage that both hosts have, at the same path: it stays where it is."""

    def setUp(self):
        super().setUp()
        self.share_area()

    def there_and_back(self, *options, **kw):
        ctid = self.make("--ram", "64M", "--swap", "0", *options, **kw)
        before = self.start_program(ctid)
        place = (self.area / str(ctid)).stat()
        report = self.migrate(ctid, "--live", "--json", check=0).json()
        self.assertEqual((report["mode"], report["shared_storage"], report["started"]), ("live", True, True))
        self.assertEqual([p["kind"] for p in report["passes"]], ["dump"], report)
        self.assertThere(ctid, running=True)
        self.goes_on(self.b.vzctl, ctid, before)
        self.assertEqual((self.area / str(ctid)).stat().st_ino, place.st_ino)
        self.assertEqual(list(self.area.rglob("migrating-*")), [])
        self.assertEqual((journal(ctid), journal(ctid, self.b.path("/"))), (None, None))
        self.b.vzctl("migrate", ctid, "a", "--live", "--transport", self.b.back(), check=0)
        self.assertHere(ctid, running=True)
        self.goes_on(vzctl, ctid, before)
        # And without its memory.
        report = self.migrate(ctid, "--json", check=0).json()
        self.assertEqual((report["shared_storage"], report["started"], report["passes"]), (True, True, []))
        self.assertThere(ctid, running=True)
        self.assertEqual(self.b.vzctl("exec2", ctid, "cat /log", check=0).out.split()[0], "1")
        self.b.vzctl("stop", ctid, check=0)
        self.b.vzctl("migrate", ctid, "a", "--transport", self.b.back(), check=0)
        self.assertHere(ctid, running=False)
        self.assertEqual((self.area / str(ctid)).stat().st_ino, place.st_ino)

    def test_an_image(self):
        self.migrate(self.make(), check=0)  # has the ids there that the next one has here
        self.there_and_back("--name", f"m{os.getpid()}")

    def test_a_directory(self):
        self.there_and_back("--layout", "dir", "--diskspace", "unlimited", "--diskinodes", "unlimited")

    def test_what_the_other_host_cannot_continue_goes_on_here(self):
        ctid = self.make("--ram", "64M", "--swap", "0")
        before = self.start_program(ctid)
        self.break_criu()
        self.assertRc(self.migrate(ctid, "--live"), 17)
        self.assertHere(ctid, running=True)
        self.goes_on(vzctl, ctid, before)
        self.assertEqual((journal(ctid), journal(ctid, self.b.path("/"))), (None, None))

    def test_refusals(self):
        self.migrate(self.make(), check=0)
        # It gets the ids that the first one had, and has there.
        ctid = self.make("--ram", "64M", "--swap", "0", "--layout", "dir", "--diskspace", "unlimited", "--diskinodes", "unlimited")
        before = self.start_program(ctid)
        kept = self.migrate(ctid, "--live", "--remove-area", "no")
        self.assertIn("has the same private area", kept.err)
        self.assertNotEqual(kept.rc, 0)
        taken = self.migrate(ctid, "--live")
        self.assertNotEqual(taken.rc, 0)
        self.assertIn("are not free there", taken.err)
        # The same path, but not the same storage.
        run([*self.b.enter(), "mount", "-t", "tmpfs", "none", self.area], check=0)
        self.b.path(str(self.area / str(ctid))).mkdir()
        self.assertRc(self.migrate(ctid, "--live"), 44)
        self.assertHere(ctid, running=True)
        self.goes_on(vzctl, ctid, before)
        self.assertEqual(list(self.area.rglob("migrating-*")), [])


class AtOnce(LiveTest):
    def test_four_both_ways(self):
        """Two leave each node while two arrive there."""
        routes = {"a": (vzctl, self.b.vzctl, ["b", "--transport", self.b.transport()]),
                  "b": (self.b.vzctl, vzctl, ["a", "--transport", self.b.back()])}
        moves = []
        for home in ("b", "b", "a", "a"):
            ctid = self.make("--ram", "64M", "--swap", "0")
            before = self.start_program(ctid)
            if home == "b":
                self.migrate(ctid, "--live", check=0)
            moves.append((ctid, before, routes[home]))
        results = {}

        def move(ctid, call, options):
            results[ctid] = call("migrate", ctid, *options, "--live", "--json")
        threads = [threading.Thread(target=move, args=(ctid, here, options)) for ctid, _, (here, _, options) in moves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for ctid, before, (here, there, _) in moves:
            self.assertRc(results[ctid], 0)
            self.goes_on(there, ctid, before)
            self.assertIn("deleted", here("status", ctid, check=0).out)

    def test_others_wait_or_are_refused(self):
        """set, stop, destroy and a second migration, all the time while it moves."""
        ctid = self.make("--ram", "64M", "--swap", "0", "--name", f"m{os.getpid()}")
        before = self.start_program(ctid)
        done, seen = threading.Event(), []

        def disturb():
            while not done.is_set():
                for command in (["set", ctid, "--numproc", "100", "--save"], ["stop", ctid, "--fast"], ["destroy", ctid],
                                ["start", ctid], ["migrate", ctid, "b", "--transport", self.b.transport()]):
                    if not journal(ctid):
                        break
                    result = vzctl(*command)
                    seen.append((command[0], result.rc))
        other = threading.Thread(target=disturb)
        other.start()
        try:
            self.migrate(ctid, "--live", check=0)
        finally:
            done.set()
            other.join()
        self.assertGreater(len(seen), 5)
        # 9: locked; 14, 41: it was there no more when they came to it
        self.assertEqual({rc for _, rc in seen} - {9, 14, 41}, set(), seen)
        self.assertThere(ctid, running=True)
        self.goes_on(self.b.vzctl, ctid, before)


class Network(LiveTest):
    """A client keeps its connection, wherever the container is."""
    ADDRESS = segment.PREFIX + "50"

    def setUp(self):
        super().setUp()
        self.segment = segment.Segment(self)
        self.segment.plug(os.getpid(), 1)
        self.addCleanup(run, ["ip", "link", "del", "up0"])
        self.segment.plug(self.b.holder.pid, 2)

    def serve(self, *options):
        ctid = self.make("--ram", "64M", "--swap", "0", *options)
        vzctl("start", ctid, check=0)
        self.inside(ctid, "nc -ll -p 7000 -e cat >/dev/null 2>&1 </dev/null &")
        vzhost.wait_for(lambda: ":1B58" in self.inside(ctid, "cat /proc/net/tcp /proc/net/tcp6"), what="the server")
        return ctid

    def test_a_client_stays_connected(self):
        ctid = self.serve("--ipadd", self.ADDRESS)
        talker = self.segment.talker(self.ADDRESS)
        self.addCleanup(talker.end)
        before = talker.look()
        for call, options in ((vzctl, ["b", "--transport", self.b.transport()]),
                              (self.b.vzctl, ["a", "--transport", self.b.back()])) * 2:
            report = call("migrate", ctid, *options, "--live", "--json", check=0).json()
            self.assertEqual((report["mode"], report["started"]), ("live", True))
            self.assertGreaterEqual(report["packets_kept"], 1, "the client's packets went elsewhere")
            vzhost.wait_for(lambda n=before: talker.look() > n + 20, what="answers")
            print(f"# stopped for {report['down_milliseconds']} ms, client waited {talker.longest * 1000:.0f} ms", flush=True)
            before, talker.longest = talker.look(), 0.0
        self.assertHere(ctid, running=True)

    def test_a_client_stays_connected_when_it_fails(self):
        """What was sent to the other host meanwhile comes back here."""
        ctid = self.serve("--ipadd", self.ADDRESS)
        talker = self.segment.talker(self.ADDRESS)
        self.addCleanup(talker.end)
        before = talker.look()
        self.break_criu()
        self.assertRc(self.migrate(ctid, "--live"), 17)
        vzhost.wait_for(lambda: talker.look() > before + 20, what="answers")
        self.assertHere(ctid, running=True)


class Disk(LiveTest):
    """What is written to the image while it goes: only that is looked at again, and all of it arrives."""
    BLOCKS = 200
    # Block after block of a large file gets the number of its last write, which is logged when it is on the disk.
    WRITER = ("i=0; while [ ! -e /stop ]; do i=$((i+1)); n=$((i*37%%%d)); yes $n $i | head -c 65536 | "
              "dd of=/blocks bs=64k seek=$n conv=notrunc 2>/dev/null; sync; echo $n $i >>/log; done; sync; touch /stopped" % BLOCKS)

    def make_writer(self):
        ctid = self.make("--ram", "64M", "--swap", "0", diskspace="256M")
        vzctl("start", ctid, check=0)
        self.inside(ctid, f"dd if=/dev/urandom of=/rest bs=1M count=60 2>/dev/null; dd if=/dev/zero of=/blocks bs=64k count={self.BLOCKS} "
                          "2>/dev/null; sync")
        self.rest = self.inside(ctid, "md5sum /rest").split()[0]
        self.inside(ctid, f"({self.WRITER}) >/dev/null 2>&1 &")
        vzhost.wait_for(lambda: self.written(vzctl, ctid) > self.BLOCKS, what="a write of each block")
        return ctid

    @staticmethod
    def written(call, ctid):
        return int((call("exec2", ctid, "tail -n 1 /log").out.split() or [0, 0])[1])

    def check(self, call, ctid):
        before = self.written(call, ctid)
        vzhost.wait_for(lambda: self.written(call, ctid) > before + 5, what="more writes")
        call("exec2", ctid, "touch /stop", check=0)
        vzhost.wait_for(lambda: call("exec2", ctid, "test -e /stopped").rc == 0, what="the writer's end")
        last = dict(line.split() for line in call("exec2", ctid, "cat /log", check=0).out.splitlines())
        blocks = call("exec2", ctid, "cat /blocks", check=0).out
        self.assertEqual(len(blocks), self.BLOCKS * 65536)
        for n in range(self.BLOCKS):
            want = f"{n} {last[str(n)]}\n"
            block = blocks[n * 65536:(n + 1) * 65536]
            self.assertEqual(block, (want * (65536 // len(want) + 1))[:65536], f"block {n}")
        self.assertEqual(call("exec2", ctid, "md5sum /rest", check=0).out.split()[0], self.rest)
        call("exec2", ctid, "rm /stop /stopped", check=0)

    @staticmethod
    def disk_passes(report):
        return [p for p in report["passes"] if p["kind"] not in ("memory", "dump")]

    def test_only_what_was_written_is_looked_at_again(self):
        ctid = self.make_writer()
        for i, (call, there, options) in enumerate(self.ways()):
            passes = self.disk_passes(call("migrate", ctid, *options, "--live", "--json", check=0).json())
            print(f"# MiB read: {[p['read'] / MIB for p in passes]}", flush=True)
            self.assertGreater(passes[0]["read"], 72 * MIB)
            self.assertTrue(any(p["stopped"] for p in passes), passes)
            for p in passes[1:]:
                self.assertLess(p["read"], 40 * MIB, passes)
            self.check(there, ctid)
            if i == 0:
                there("exec2", ctid, f"({self.WRITER}) >/dev/null 2>&1 &", check=0)
                vzhost.wait_for(lambda: self.written(there, ctid) > self.BLOCKS, what="a write of each block")
        vzctl("stop", ctid, "--fast", check=0)
        image = f"/var/lib/vz/private/{ctid}/root.img"
        self.assertRc(run(["e2fsck", "-fn", image]), 0)

    def test_what_was_not_seen_is_found(self):
        """The device's own count differs from what was seen of it: all is looked at while it stands still."""
        ctid = self.make_writer()
        device = json.loads(pathlib.Path(f"/run/vz/{ctid}/state.json").read_text())["root_device"]
        counted = pathlib.Path("/sys/block") / pathlib.Path(device).name / "queue/iostats"
        self.addCleanup(counted.write_text, "1")
        argv = [VZCTL, "migrate", str(ctid), "b", "--transport", self.b.transport(), "--live", "--json"]
        with tempfile.TemporaryFile("w+") as said:
            with subprocess.Popen(argv, env={**os.environ, "VZ_FAULT_STOP": "migrate.pass:2"}, stdin=subprocess.DEVNULL,
                                  stdout=said, stderr=subprocess.DEVNULL) as moving:
                os.waitid(os.P_PID, moving.pid, os.WSTOPPED | os.WNOWAIT)
                counted.write_text("0")
                before = self.written(vzctl, ctid)
                vzhost.wait_for(lambda: self.written(vzctl, ctid) > before + 5, what="writes that nobody counts")
                counted.write_text("1")
                moving.send_signal(signal.SIGCONT)
                self.assertEqual(moving.wait(180), 0)
            said.seek(0)
            passes = self.disk_passes(json.load(said))
        print(f"# MiB read: {[p['read'] / MIB for p in passes]}", flush=True)
        self.assertLess(passes[1]["read"], 40 * MIB, passes)
        self.assertGreater(next(p for p in passes if p["stopped"])["read"], 72 * MIB, passes)
        self.check(self.b.vzctl, ctid)


class Memory(LiveTest):
    """Memory is sent ahead while the container runs; not one page is an old one afterwards."""

    def setUp(self):
        super().setUp()
        large_pipes(self)

    def checks(self, call, ctid):
        return int(call("exec2", ctid, "tail -n 1 /log", check=0).out.split()[1])

    def all_checked(self, call, ctid, mib):
        """Every page was looked at since the move."""
        self.assertNotIn("wrong", call("exec2", ctid, "cat /log", check=0).out)
        before = self.checks(call, ctid)
        vzhost.wait_for(lambda: self.checks(call, ctid) > before + mib * 256, what="a look at every page", timeout=60)
        self.assertNotIn("wrong", call("exec2", ctid, "cat /log", check=0).out)

    def test_no_page_is_an_old_one(self):
        self.there_and_back()

    def test_memory_that_is_put_into_place_late(self):
        self.there_and_back("--lazy")

    def there_and_back(self, *more):
        mib = 96
        ctid = self.make("--ram", "256M", "--swap", "0", diskspace="256M")
        self.worker(ctid, mib, 20)
        for call, there, options in self.ways():
            report = call("migrate", ctid, *options, "--live", "--json", *more, check=0).json()
            passes = [p for p in report["passes"] if p["kind"] == "memory"]
            self.assertGreaterEqual(report["lazy_bytes"], mib * MIB) if more else self.assertEqual(report["lazy_bytes"], 0)
            self.assertGreaterEqual(len(passes), 2, report)
            self.assertGreaterEqual(passes[0]["sent"], mib * MIB)
            self.assertEqual([p["stopped"] for p in passes], [False] * (len(passes) - 1) + [True])
            self.assertLess(passes[-1]["sent"], mib * MIB // 2, "all of it was sent again")
            self.assertLess(next(p for p in report["passes"] if p["kind"] == "dump")["sent"], 16 * MIB, report)
            print(f"# stopped for {report['down_milliseconds']} ms; memory: {[p['sent'] >> 20 for p in passes]} MiB", flush=True)
            self.all_checked(there, ctid, mib)
        self.assertHere(ctid, running=True)

    def test_all_that_can_be_done_with_memory_that_is_late(self):
        """It forks, moves, gives back, maps anew and lets the kernel read what has not come yet."""
        ctid = self.make("--ram", "512M", "--swap", "0", diskspace="256M")
        self.worker(ctid, 128, name="late_worker")
        seen = []
        for i in range(40):
            call, there, options = self.ways()[i % 2]
            report = call("migrate", ctid, *options, "--live", "--lazy", "--json", check=0).json()
            before = self.checks(there, ctid)
            vzhost.wait_for(lambda: self.checks(there, ctid) > before + 1000, what="more rounds", timeout=60)
            self.assertNotIn("wrong", there("exec2", ctid, "cat /log", check=0).out)
            # When it has a child in this moment, which has all of its memory, nothing is.
            seen.append((report["lazy_bytes"], report["why"], report["passes"]))
            if sum(late > 8 * MIB for late, *_ in seen) == 3:
                return
        self.fail(f"memory was not late: {seen}")

    def placer(self):
        """Of two that have the memory's descriptor the one who is the other's parent: it, or None."""
        have = {}
        for task in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if b"agent" in (task / "cmdline").read_bytes().split(b"\0") and \
                   any("userfaultfd" in os.readlink(fd) for fd in (task / "fd").iterdir()):
                    have[int(task.name)] = int((task / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                pass
        return next((parent for parent in have.values() if parent in have), None)

    def stopped_placer(self, ctid):
        """Moves it, and stops who places its memory while some is missing: its number, or None when it was faster."""
        trace = self.b.work / "trace"
        trace.write_text("")
        result = []
        transport = self.b.transport(VZ_FAULT_TRACE=trace)
        move = threading.Thread(target=lambda: result.append(self.migrate(ctid, "--live", "--lazy", transport=transport)))
        move.start()
        try:
            vzhost.wait_for(lambda: "restore.held" in trace.read_text() or result, what="a container that is held", timeout=400, step=0.001)
            placer = self.placer()
            if placer:
                os.kill(placer, signal.SIGSTOP)
        finally:
            move.join()
        self.assertRc(result[0], 0)
        return placer

    def test_the_one_who_puts_it_into_place_is_killed(self):
        """What is missing must not be taken for zeros: the container ends."""
        ctid = self.make("--ram", "512M", "--swap", "0", diskspace="256M")
        self.worker(ctid, 384, 20)
        for _ in range(5):
            placer = self.stopped_placer(ctid)
            if placer:
                break
            self.b.vzctl("migrate", ctid, "a", "--live", "--transport", self.b.back(), check=0)
        else:
            self.fail("it was always done already")
        try:
            self.assertThere(ctid, running=True)
            # Nobody may save what is not all there.
            waiting = subprocess.Popen([*self.b.enter(), VZCTL, "suspend", str(ctid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.assertRaises(subprocess.TimeoutExpired, waiting.wait, 2)
        finally:
            os.kill(placer, signal.SIGKILL)
        self.assertNotEqual(waiting.wait(), 0)
        vzhost.wait_for(lambda: "down" in self.b.vzctl("status", ctid, check=0).out, what="the end of the container")
        self.b.vzctl("start", ctid, check=0)
        self.assertNotIn("wrong", self.b.vzctl("exec2", ctid, "cat /log", check=0).out)

    def test_it_goes_on_here_when_the_other_host_fails(self):
        ctid = self.make("--ram", "256M", "--swap", "0", diskspace="256M")
        self.worker(ctid, 64, 20)
        self.break_criu()
        self.assertRc(self.migrate(ctid, "--live"), 17)
        self.assertHere(ctid, running=True)
        self.all_checked(vzctl, ctid, 64)


class Refusals(MigrateTest):
    def refused(self, ctid, rc, *words, transport=None, running=False, options=()):
        result = self.migrate(ctid, *options, transport=transport)
        self.assertRc(result, rc)
        for word in words:
            self.assertIn(word, result.err)
        self.assertHere(ctid, running)
        self.assertIsNone(journal(ctid))

    def test_taken_there(self):
        ctid = self.make("--name", f"t{os.getpid()}", "--ipadd", "198.18.7.7")
        other = self.new_id()
        self.addCleanup(self.b.wipe, other)
        self.b.vzctl("create", other, "--ostemplate", vzhost.busybox_template(), "--diskspace", "64M", "--ipadd", "198.18.7.7", check=0)
        self.refused(ctid, 78, "198.18.7.7", str(other))
        self.b.vzctl("set", other, "--ipdel", "all", "--name", f"t{os.getpid()}", "--save", check=0)
        self.refused(ctid, 131, f"t{os.getpid()}")
        self.b.vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "64M", check=0)
        result = self.migrate(ctid)
        self.assertRc(result, 44)
        self.assertIn("exists there already", result.err)

    def there(self, path, change):
        """Another file at this path on the other host."""
        fake = self.b.work / pathlib.Path(path).name
        fake.write_text(change(pathlib.Path(path).read_text()))
        run([*self.b.enter(), "mount", "--bind", fake, path], check=0)
        self.addCleanup(run, [*self.b.enter(), "umount", path])  # nothing, when it was done

    def test_live_to_a_lesser_host(self):
        vzhost.need("criu")
        sets = pathlib.Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n")[0].split()
        lost = next(s for s in ("avx2", "sse4_2", "ssse3") if s in sets)
        ctid = self.make("--ram", "64M", "--swap", "0")
        vzctl("start", ctid, check=0)
        self.there("/proc/cpuinfo", lambda text: text.replace(f" {lost} ", " "))
        self.refused(ctid, 172, f"lacks {lost}", "without --live", running=True, options=["--live"])
        self.refused(ctid, 172, f"lacks {lost}", running=True, options=["--live", "--check-only"])
        self.migrate(ctid, "--check-only", check=0)
        run([*self.b.enter(), "umount", "/proc/cpuinfo"], check=0)
        run([*self.b.enter(), "mount", "--bind", "/dev/null", "/dev/userfaultfd"], check=0)
        self.refused(ctid, 172, "late", "without --lazy", running=True, options=["--live", "--lazy"])
        self.migrate(ctid, "--live", "--check-only", check=0)
        self.there("/proc/meminfo", lambda text: re.sub(r"(MemAvailable|SwapFree): *[0-9]+", r"\1: 16", text))
        self.refused(ctid, 6, "are free there", running=True, options=["--live"])
        self.migrate(ctid, "--live", "--force", "--check-only", check=0)

    def test_no_such_host_and_no_protocol(self):
        ctid = self.make()
        vzctl("start", ctid, check=0)
        self.refused(ctid, 173, "cannot reach", transport="/nonexistent/program", running=True)
        self.refused(ctid, 173, "cannot reach", "try it by hand", transport="false", running=True)
        for bytes_, words in (("Welcome to this host, have a nice day", "does not speak"), (r"vzm\001\377\377\377\377", "frame of")):
            script = self.b.work / "talker.sh"
            script.write_text(f"#!/bin/sh\nprintf '{bytes_}'\ncat >/dev/null\n")
            script.chmod(0o755)
            self.refused(ctid, 21, words, transport=str(script), running=True)

    def test_no_room_there(self):
        ctid = self.make()
        run([*self.b.enter(), "mkdir", "-p", "/var/lib/vz/private"], check=0)
        run([*self.b.enter(), "mount", "-t", "tmpfs", "-o", "size=2m", "none", "/var/lib/vz/private"], check=0)
        self.refused(ctid, 46, "MiB")

    def test_no_room_here(self):
        """The way out of a full disk: nothing more can be made in its private area."""
        self.share_area()
        run(["mount", "-t", "tmpfs", "-o", "size=256m,nr_inodes=64", "none", self.area], check=0)
        self.addCleanup(run, ["umount", self.area], check=0)
        ctid = self.make()
        for i in range(64):
            try:
                (self.area / str(i)).touch()
            except OSError as full:
                self.assertEqual(full.errno, errno.ENOSPC)
        self.assertRaises(OSError, (self.area / str(ctid) / "more").touch)
        self.migrate(ctid, check=0)
        self.assertThere(ctid, running=False)

    def test_full_in_the_middle(self):
        """The check was passed, and then somebody else took the room."""
        ctid = self.make(diskspace="128M")
        vzctl("start", ctid, check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/data bs=1M count=24 2>/dev/null; sync")
        run([*self.b.enter(), "mkdir", "-p", "/var/lib/vz/private"], check=0)
        run([*self.b.enter(), "mount", "-t", "tmpfs", "-o", "size=64m", "none", "/var/lib/vz/private"], check=0)
        script = self.b.work / "agent.sh"
        script.write_text("#!/bin/sh\n(until ls /var/lib/vz/private/*.incoming >/dev/null 2>&1; do sleep 0.01; done\n"
                          f"head -c 50M /dev/zero >/var/lib/vz/private/taken) >/dev/null 2>&1 </dev/null &\nexec {VZCTL} agent\n")
        script.chmod(0o755)
        transport = " ".join([*self.b.enter(), str(script)])
        result = self.migrate(ctid, transport=transport)
        self.assertNotEqual(result.rc, 0, repr(result))
        self.assertHere(ctid, running=True)

    def test_bad_options(self):
        ctid = self.make()
        self.assertRc(vzctl("migrate", ctid), 20)
        for value in ("0", "x", "-1", "999999999"):
            self.assertRc(self.migrate(ctid, "--live", "--max-downtime", value), 21)
        self.assertRc(self.migrate(ctid, "--remove-area", "maybe"), 21)
        self.assertRc(self.migrate(ctid, "--lazy"), 20)
        for option, value in (("--bandwidth", "fast"), ("--bandwidth", "-1"), ("--compress", "sometimes"), ("--compress", "")):
            wrong = self.migrate(ctid, option, value)
            self.assertRc(wrong, 21)
            self.assertIn(option, wrong.err)
        self.assertRc(vzctl("migrate", ctid, "b", "--drop"), 20)
        self.assertRc(vzctl("migrate", ctid, "--resolve"), 21)
        self.assertRc(vzctl("migrate", self.new_id(), "b", "--transport", self.b.transport()), 14)

    def test_two_at_once(self):
        ctid = self.make(diskspace="128M")
        results = []
        threads = [threading.Thread(target=lambda: results.append(self.migrate(ctid))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sum(r.rc == 0 for r in results), 1, results)
        for r in results:
            self.assertIn(r.rc, (0, 9, 14, 43), repr(r))
        self.assertThere(ctid, running=False)


class Kills(MigrateTest):
    """kill -9 at steps of either side, at every one with VZ_TEST_ALL_STEPS=1. Afterwards it runs on one node, or --resolve makes it so."""

    def running_nodes(self, ctid):
        here, there = self.status(ctid), self.b.vzctl("status", ctid, check=0).out.split()[2:]
        return [name for name, words in (("a", here), ("b", there)) if "running" in words and not self.frozen(ctid, name)]

    def survives(self, ctid, md5):
        self.assertLessEqual(len(self.running_nodes(ctid)), 1)
        left = journal(ctid)
        if left and left["phase"] == "committed":
            refused = vzctl("start", ctid)
            self.assertIn(refused.rc, (9, 14), repr(refused))  # 14: all but the journal is gone already
            self.assertIn("--resolve" if refused.rc == 9 else "config file", refused.err)
        if left:
            vzctl("migrate", ctid, "--resolve", "--transport", self.b.transport(), check=0)
        owner = self.owner(ctid)
        self.assertEqual(len(owner), 1, (owner, left))
        call = vzctl if owner == ["a"] else self.b.vzctl
        self.assertEqual(call("exec2", ctid, "md5sum /data | cut -d' ' -f1", check=0).out.strip(), md5)
        self.assertNotIn("wrong", call("exec2", ctid, "cat /log 2>/dev/null", check=None).out)
        if owner == ["a"]:  # and it can be tried again
            self.migrate(ctid, check=0)
            self.check_data(ctid, md5)

    def killed_at_every_step(self, side, *options):
        # About 40 a side, four seconds each.
        for step in vzhost.some_steps(self.steps(side, *options), 10 if options else 4):
            with self.subTest(step=step):
                ctid = self.busy(*options)
                self.inside(ctid, "dd if=/dev/urandom of=/data bs=64k count=3 2>/dev/null; sync")
                md5 = self.inside(ctid, "md5sum /data").split()[0]
                if side == "source":
                    result = self.migrate(ctid, *options, env={"VZ_FAULT": step})
                else:
                    result = self.migrate(ctid, *options, transport=self.b.transport(VZ_FAULT=step))
                if side == "source":
                    self.assertNotEqual(result.rc, 0, repr(result))
                self.survives(ctid, md5)
                self.b.wipe(ctid)

    def test_the_source_is_killed(self):
        self.killed_at_every_step("source")

    def test_the_destination_is_killed(self):
        self.killed_at_every_step("destination")

    def test_the_source_is_killed_live(self):
        vzhost.need("criu")
        self.killed_at_every_step("source", "--live")

    def test_the_destination_is_killed_live(self):
        vzhost.need("criu")
        self.killed_at_every_step("destination", "--live")

    def test_the_destination_is_killed_live_and_lazy(self):
        vzhost.need("criu")
        large_pipes(self)
        self.killed_at_every_step("destination", "--live", "--lazy")

    def test_the_source_is_killed_on_shared_storage(self):
        vzhost.need("criu")
        self.share_area()
        self.killed_at_every_step("source", "--live")

    def test_the_destination_is_killed_on_shared_storage(self):
        vzhost.need("criu")
        self.share_area()
        self.killed_at_every_step("destination", "--live")


class Deaths(LiveTest):
    """At steps of either side, while who does them waits, CRIU is killed, or the connection ends. Afterwards one node can
    run the container, and the program in it is where it was: nothing was done twice, nothing was lost."""

    LINE = """exec 3<&0 4>&1
{agent} <{work}/in >{work}/out 3<&- 4>&- &
cat <{work}/out >&4 3<&- & echo $! >{work}/line
echo $$ >>{work}/line
exec cat <&3 >{work}/in 4>&-"""

    def line(self, **environment):
        """A transport whose end does not end the agent."""
        for name in ("in", "out"):
            (self.b.work / name).unlink(missing_ok=True)
            os.mkfifo(self.b.work / name)
        return str(self.b.executable("line.sh", self.LINE.format(agent=self.b.transport(**environment), work=self.b.work)))

    def cut(self, _pid):
        for pid in (self.b.work / "line").read_text().split():
            os.kill(int(pid), signal.SIGKILL)

    @staticmethod
    def stat(pid):
        """State and parent of a process; nothing of one that has ended."""
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            return words[0], int(words[1])
        return "", 0

    def criu_of(self, pid):
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            state, parent = self.stat(process.name)
            with contextlib.suppress(OSError):
                if parent == pid and state not in ("Z", "") and b"criu: " in (process / "cmdline").read_bytes():
                    return int(process.name)
        return None

    def kill_criu(self, pid):
        criu = self.criu_of(pid)
        self.assertIsNotNone(criu, "no CRIU")
        os.kill(criu, signal.SIGKILL)
        vzhost.wait_for(lambda: self.stat(criu)[0] in ("Z", ""), what="CRIU's end")
        time.sleep(0.3)  # what runs and should not gets the time to do a few steps

    def kill_both(self, pid):
        self.kill_criu(pid)
        os.kill(pid, signal.SIGKILL)

    def waits_at(self, step, side, moving, ctid):
        """Who has reached it."""
        lock = (pathlib.Path("/") if side == "source" else self.b.path("/")) / f"run/vz/lock/{ctid}.lck"

        def look():
            self.assertIsNone(moving.poll(), f"{step}: the step was not reached")
            with contextlib.suppress(OSError, IndexError, ValueError):
                pid = int(lock.read_text().split()[0])
                return pid if self.stat(pid)[0] == "T" else None
            return None
        return vzhost.wait_for(look, timeout=120, what=f"{side} at {step}")

    def happens(self, event, side, step):
        """`event` gets the process that waits."""
        ctid = self.make("--ram", "64M", "--swap", "0")
        before = self.start_program(ctid)
        stop = {"VZ_FAULT_STOP": step}
        transport = self.line(**(stop if side == "destination" else {}))
        argv = [VZCTL, "migrate", str(ctid), "b", "--transport", transport, "--live"]
        with tempfile.TemporaryFile("w+") as said:
            environment = {**os.environ, **(stop if side == "source" else {})}
            with subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as moving:
                pid = self.waits_at(step, side, moving, ctid)
                try:
                    event(pid)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
                moving.wait(180)
            said.seek(0)
            print(f"# {step}: {moving.returncode} {said.read().splitlines()[-3:]}", flush=True)
        return ctid, before

    def continued(self, ctid, before):
        if journal(ctid):
            resolved = vzctl("migrate", ctid, "--resolve", "--transport", self.b.transport())
            self.assertIn(resolved.rc, (0, 17), repr(resolved))  # 17: it came back
        owner = self.owner(ctid)
        self.assertEqual(len(owner), 1, owner)
        self.goes_on(vzctl if owner == ["a"] else self.b.vzctl, ctid, before)
        self.b.wipe(ctid)

    def at_steps(self, event, side, first, last, every):
        steps = self.steps(side, "--live")
        begin = steps.index(f"{first}:1")
        for step in vzhost.some_steps(steps[begin:steps.index(f"{last}:1", begin) + 1], every):
            with self.subTest(step=step):
                self.continued(*self.happens(event, side, step))

    def test_criu_of_the_source(self):
        self.at_steps(self.kill_criu, "source", "suspend.criu.pre-dump", "suspend.given", 8)

    def test_criu_of_the_destination(self):
        self.at_steps(self.kill_criu, "destination", "restore.criu.pre-restore", "restore.criu.post-resume", 8)

    def test_the_connection_seen_from_the_source(self):
        self.at_steps(self.cut, "source", "migrate.sending", "destroy.private", 12)

    def test_the_connection_seen_from_the_destination(self):
        self.at_steps(self.cut, "destination", "migrate.incoming", "migrate.forget", 12)

    def test_criu_and_vzctl_of_the_source(self):
        """Once it is given away nothing of it runs there any more, although nobody is left to end it."""
        ctid, before = self.happens(self.kill_both, "source", "suspend.given")
        self.assertEqual(journal(ctid)["phase"], "committed")
        here = self.events(ctid, "a")
        self.assertEqual(len(here), 1, here)
        vzhost.wait_for(lambda: "populated 1\nfrozen 1" in here[0].read_text(), what="that it stands still")
        self.assertRc(vzctl("exec", ctid, "true"), 31)
        self.continued(ctid, before)


class CutOff(MigrateTest):
    """The source is gone, and the network does not tell the other host."""

    def test_an_agent_that_still_waits_is_replaced(self):
        ctid = self.make()
        vzctl("start", ctid, check=0)
        line = self.b.work / "line"
        os.mkfifo(line)
        deaf = self.b.executable("deaf", f"exec 3<>{line} 4<&0 2>/dev/null\ncat <&4 >{line} &\nexec {VZCTL} agent <{line}")
        transport = " ".join([*self.b.enter(), str(deaf)])
        killed = self.migrate(ctid, transport=transport, env={"VZ_FAULT": "migrate.pass"})
        self.assertRc(killed, -9)
        lock = self.b.path(f"/run/vz/lock/{ctid}.lck")
        agent = pathlib.Path("/proc", lock.read_text().split()[0])
        self.assertIn("agent", (agent / "cmdline").read_text())
        other = self.make()
        self.migrate(other, check=0)
        self.assertTrue(agent.exists(), "it was ended for nothing")
        self.migrate(ctid, check=0)
        self.assertThere(ctid, running=True)
        self.assertFalse(agent.exists())


class Garbage(unittest.TestCase):
    def test_an_agent_survives_any_bytes(self):
        """It answers, or ends with an error; it neither hangs nor crashes, and leaves nothing."""
        import random
        rng = random.Random(int(os.environ.get("VZ_SEED", "7")))
        def frame(kind, payload):
            return b"vzm" + bytes([kind]) + len(payload).to_bytes(4, "little") + payload
        hello = frame(1, json.dumps({"message": "hello", "protocol": "1", "vz": "x"}).encode())
        bodies = [b"", b"GET / HTTP/1.0\r\n\r\n", frame(1, b"{"), frame(1, b"[]"), frame(1, b'{"message":1}'),
                  frame(1, b'{"message":"begin"}'), hello + frame(1, b'{"message":"pass"}'), hello + frame(4, b"x" * 100),
                  hello + frame(1, b'{"message":"begin","ctid":"4294967296","layout":"image","size":"1"}'),
                  hello + frame(1, b'{"message":"begin","ctid":"0","layout":"image","size":"1"}'),
                  hello + frame(1, b'{"message":"begin","ctid":"1000000001","layout":"../..","size":"1"}'),
                  hello + frame(1, b'{"message":"go","ctid":"1000000001","session":"x"}'),
                  hello + frame(1, b'{"message":"abort","ctid":"1000000001","session":""}')]
        for _ in range(40):
            body = bytearray(rng.choice(bodies) + frame(rng.randrange(256), rng.randbytes(rng.randrange(200))))
            for _ in range(rng.randrange(4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            bodies.append(bytes(body))
        for body in bodies:
            agent = subprocess.run([str(VZCTL), "agent"], input=body, capture_output=True, timeout=60, check=False)
            self.assertGreaterEqual(agent.returncode, 0, (agent, body))
        self.assertEqual(list(pathlib.Path("/var/lib/vz/private").glob("*.incoming")), [])


if __name__ == "__main__":
    vzhost.main()

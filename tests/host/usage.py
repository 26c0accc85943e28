#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic by class, exact to the byte; usage that only grows, whoever is killed when; reports and metrics."""
import csv
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from terminal import Terminal
from vzhost import run, vzctl

CLASSES = pathlib.Path("/etc/vz/conf/networks_classes")
LIB = pathlib.Path("/var/lib/vz/usage")
IP4, UDP4, IP6, UDP6 = 20, 28, 40, 48


def vzstat(*args, **kw):
    return run([vzhost.BIN / "vzstat", *args], **kw)


def vznetstat(*args, **kw):
    return run([vzhost.BIN / "vznetstat", *args], **kw)


def usage(ctid):
    """The one entry of this container, as of now."""
    entries = vzstat("--json", ctid, check=0).json()["containers"]
    live = [e for e in entries if not e["destroyed"]]
    return live[0] if live else None


def traffic(ctid):
    """{class: (in_bytes, in_packets, out_bytes, out_packets)}, of classes that were used."""
    entry = usage(ctid)
    return {t["class"]: (t["in_bytes"], t["in_packets"], t["out_bytes"], t["out_packets"])
            for t in (entry["traffic"] if entry else [])}


class UsageTest(vzhost.HostTest):
    """Host addresses in three classes, and sockets of which the payload is known."""
    ADDRESSES = {1: "198.20.0.1", 2: "198.19.0.1", 15: "fd00:19::1"}

    def setUp(self):
        CLASSES.write_text("# test\n0 198.18.0.0/16\n1 0.0.0.0/0\n2 198.19.0.0/16\n15 fd00:19::/64\n")
        self.addCleanup(CLASSES.unlink, missing_ok=True)
        vznetstat("--load", check=0)
        for address in self.ADDRESSES.values():
            run(["ip", "addr", "replace", address + ("/128" if ":" in address else "/32"), "dev", "lo"], check=0)

    def started(self, *options):
        n = self.new_id()
        self.ip4, self.ip6 = f"198.18.{n // 250 % 250}.{n % 250 + 1}", f"fd00:18::{n % 60000 + 1:x}"
        ctid = self.create("--ipadd", self.ip4, "--ipadd", self.ip6, *options, ctid=n)
        vzctl("start", ctid, check=0)
        return ctid

    def udp(self, source):
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind((source, 0))
        return sock

    def send(self, traffic_class, sizes, destination=None):
        """To a port where nobody listens: what comes back, ICMP errors, is rate-limited; so only what goes in is exact."""
        source = self.ADDRESSES[traffic_class]
        sock = self.udp(source)
        for size in sizes:
            try:
                sock.sendto(bytes(size), (destination or (self.ip6 if ":" in source else self.ip4), 9))
            except ConnectionRefusedError:
                sock.sendto(bytes(size), (destination or (self.ip6 if ":" in source else self.ip4), 9))

    def incoming(self, ctid, traffic_class):
        return traffic(ctid).get(traffic_class, (0, 0, 0, 0))[:2]


class Traffic(UsageTest):
    def test_exact_in_every_class(self):
        ctid = self.started()
        self.assertEqual(traffic(ctid), {})
        self.send(1, [0, 1, 100])
        self.send(2, [1000] * 7)
        self.send(15, [500, 501])
        self.assertEqual(self.incoming(ctid, 1), (3 * UDP4 + 101, 3))
        self.assertEqual(self.incoming(ctid, 2), (7 * (UDP4 + 1000), 7))
        self.assertEqual(self.incoming(ctid, 15), (2 * UDP6 + 1001, 2))
        self.assertNotIn(0, traffic(ctid))

    def test_exact_outgoing_and_kernel_answers(self):
        """Pings are answered by the kernel, with no socket of the container: counted all the same."""
        ctid = self.started()
        run(["ping", "-n", "-c", "3", "-i", "0.2", "-s", "200", "-I", self.ADDRESSES[2], self.ip4], check=0)
        self.assertEqual(traffic(ctid), {2: (3 * (IP4 + 208), 3, 3 * (IP4 + 208), 3)})
        self.inside(ctid, f"ping -c 2 -s 100 {self.ADDRESSES[1]}")
        self.assertEqual(traffic(ctid)[1], (2 * (IP4 + 108), 2, 2 * (IP4 + 108), 2))

    def test_packet_sockets_do_not_escape(self):
        """Root inside may send without any IP socket: by a packet socket in its network namespace."""
        ctid = self.started()
        script = ("import socket,struct\n"
                  "s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\ns.bind(('venet0',0))\n"
                  "mac=open('/sys/class/net/lo/address').read() and s.getsockname()[4]\n"
                  f"ip=struct.pack('!BBHHHBBH4s4s',0x45,0,500,0,0,64,253,0,socket.inet_aton('{self.ip4}'),"
                  f"socket.inet_aton('{self.ADDRESSES[2]}'))+bytes(480)\n"
                  "for i in range(5): s.send(mac+mac+b'\\x08\\x00'+ip)\n")
        pid = json.loads(pathlib.Path(f"/run/vz/{ctid}/state.json").read_text())["init"]["pid"]
        run(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", script], check=0)
        self.assertEqual(traffic(ctid)[2][2:], (5 * 500, 5))

    def test_loopback_and_own_addresses_do_not_count(self):
        ctid = self.started()
        self.inside(ctid, f"ping -c 2 127.0.0.1 && ping -c 2 {self.ip4}")
        self.assertEqual(traffic(ctid), {})

    def test_offloads_do_not_change_the_sum(self):
        """A stream is handed over in pieces of up to 64 KiB; what counts are packets of the wire, with their headers."""
        ctid = self.started()
        size = 4 << 20
        server = socket.create_server((self.ADDRESSES[2], 0))
        self.addCleanup(server.close)
        port = server.getsockname()[1]
        got = []

        def take():
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(1 << 20):
                    got.append(len(data))
        thread = threading.Thread(target=take)
        thread.start()
        self.inside(ctid, f"head -c {size} /dev/zero | nc -w 5 {self.ADDRESSES[2]} {port}")
        thread.join(60)
        self.assertEqual(sum(got), size)
        _, _, out_bytes, packets = traffic(ctid)[2]
        self.assertGreaterEqual(packets, size // 1460)
        # Between 40 bytes of headers and 60 (TCP options); what is sent twice would only add.
        self.assertGreaterEqual(out_bytes, size + 40 * packets)
        self.assertLessEqual(out_bytes, (size + 60 * packets) * 1.05)

    def test_classes_are_reloaded_for_those_who_run(self):
        ctid = self.started()
        self.send(2, [100])
        CLASSES.write_text("7 198.19.0.0/24\n")
        self.assertIn("1 network loaded", vznetstat("--load", check=0).out)
        self.send(2, [100, 100])
        self.assertEqual(self.incoming(ctid, 2), (UDP4 + 100, 1))
        self.assertEqual(self.incoming(ctid, 7), (2 * (UDP4 + 100), 2))
        for wrong in ("16 10.0.0.0/8", "1 10.0.0.0/64", "x"):
            CLASSES.write_text("3 198.19.0.0/24\n" + wrong + "\n")
            refused = vznetstat("--load")
            self.assertRc(refused, 1)
            self.assertIn("line 2", refused.err)
        self.send(2, [100])
        self.assertEqual(self.incoming(ctid, 7), (3 * (UDP4 + 100), 3), "a wrong file changes nothing")
        other = self.started()
        self.assertIn("running", self.status(other), "a wrong file keeps nobody from starting")

    def test_devices_that_come_later(self):
        ctid = self.start()
        self.assertEqual(traffic(ctid), {})
        self.ip4 = "198.18.251.9"
        vzctl("set", ctid, "--ipadd", self.ip4, "--save", check=0)
        self.send(2, [300])
        self.assertEqual(self.incoming(ctid, 2), (UDP4 + 300, 1))
        vzctl("set", ctid, "--ipdel", "all", "--save", check=0)
        vzctl("set", ctid, "--ipadd", self.ip4, "--save", check=0)
        self.send(2, [300])
        self.assertEqual(self.incoming(ctid, 2), (2 * (UDP4 + 300), 2), "counted once, on the device that stayed")

    def test_table(self):
        ctid = self.started()
        self.send(2, [72])
        lines = vznetstat("-v", ctid, "-c", "2", check=0).out.splitlines()
        self.assertEqual(lines[0].split(), ["CTID", "Net.Class", "Output(bytes)", "Output(pkts)", "Input(bytes)",
                                            "Input(pkts)"])
        self.assertEqual(lines[1].split()[:2] + lines[1].split()[4:], [str(ctid), "2", "100", "1"])
        self.assertRc(vznetstat("-c", "16"), 1)
        self.assertRc(vznetstat("-v", "999999"), 1)


class OnlyGrows(UsageTest):
    def numbers(self, ctid):
        entry = usage(ctid)
        return {k: entry[k] for k in ("cpu_seconds", "read_bytes", "written_bytes", "reads", "writes", "run_seconds",
                                      "ram_gib_hours")} if entry else {}

    def check_grown(self, before, after, what):
        for key, value in before.items():
            self.assertGreaterEqual(after[key], value, f"{what}: {key}")

    def test_stop_start_restart_reboot(self):
        ctid = self.started()
        self.inside(ctid, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/f bs=1M count=4 "
                          "conv=fsync 2>/dev/null")
        sent, before = 0, self.numbers(ctid)
        self.assertGreater(before["cpu_seconds"], 0)

        def step(what, *command):
            nonlocal before, sent
            self.send(2, [100])
            sent += 1
            if command:
                vzctl(*command, check=0)
            now = self.numbers(ctid)
            self.check_grown(before, now, what)
            before = now
            self.assertEqual(self.incoming(ctid, 2), (sent * (UDP4 + 100), sent), what)

        step("running")
        step("stop", "stop", ctid, "--fast")
        stopped = self.numbers(ctid)
        self.assertEqual(self.numbers(ctid), stopped, "nothing grows while it does not run")
        vzctl("start", ctid, check=0)
        step("started")
        step("restart", "restart", ctid)
        init = self.init_pid(ctid)
        self.inside(ctid, "reboot -f || kill -TERM 1", check=None)
        vzhost.wait_for(lambda: self.init_pid(ctid) not in (None, init), what="it comes back after a reboot inside")
        step("reboot inside")

    @staticmethod
    def init_pid(ctid):
        try:
            state = json.loads(pathlib.Path(f"/run/vz/{ctid}/state.json").read_text())
        except (OSError, ValueError):
            return None
        return state["init"]["pid"] if state["phase"] == "running" else None

    def test_disk_io_counts_once(self):
        """The container's image is a file on a disk, behind a loop device: only what reaches the disk counts."""
        ctid = self.started()
        before = usage(ctid) or {"written_bytes": 0}
        size = 8 << 20
        self.inside(ctid, f"dd if=/dev/urandom of=/f bs=1M count={size >> 20} conv=fsync 2>/dev/null")
        written = usage(ctid)["written_bytes"] - before["written_bytes"]
        if written == 0:
            self.skipTest("this host charges write-back to nobody (cgroup v1)")
        self.assertGreaterEqual(written, size)
        self.assertLess(written, size * 1.6, "counted at the loop device and at the disk")

    def test_killed_at_every_step_of_stop(self):
        """Nothing is lost and nothing is doubled, exact by the traffic; and CPU time never falls."""
        ctid = self.started()
        trace = pathlib.Path("/run/vz/trace")
        vzctl("stop", ctid, "--fast", env={"VZ_FAULT_TRACE": trace}, check=0)
        names = trace.read_text().split()
        steps = [f"{name}:{names[:i].count(name) + 1}" for i, name in enumerate(names)]
        self.assertIn("cleanup.usage:1", steps)
        sent, before = 0, self.numbers(ctid)
        for step in steps:
            with self.subTest(step=step):
                started = vzctl("start", ctid)
                self.assertIn(started.rc, (0, 32), repr(started))
                self.send(2, [100])
                sent += 1
                killed = vzctl("stop", ctid, "--fast", env={"VZ_FAULT": step})
                self.assertEqual(killed.rc, -signal.SIGKILL, repr(killed))
                now = self.numbers(ctid)
                self.check_grown(before, now, f"killed at {step}")
                before = now
                self.assertEqual(self.incoming(ctid, 2), (sent * (UDP4 + 100), sent))

    def test_killed_at_every_step_of_a_record(self):
        """The recorder, too: its next run, and every reader, find the sum whole."""
        ctid = self.started()
        last, trace = LIB / "journal" / "last", pathlib.Path("/run/vz/trace.record")
        self.send(2, [100])
        last.unlink(missing_ok=True)
        vzstat("--record", env={"VZ_FAULT_TRACE": trace}, check=0)
        names = trace.read_text().split()
        steps = [f"{name}:{names[:i].count(name) + 1}" for i, name in enumerate(names)]
        self.assertTrue({"usage.save:1", "record.journal:1", "record.round:1"} <= set(steps), steps)
        for sent, step in enumerate(steps, 2):
            with self.subTest(step=step):
                self.send(2, [100])
                last.unlink(missing_ok=True)
                killed = vzstat("--record", env={"VZ_FAULT": step})
                self.assertEqual(killed.rc, -signal.SIGKILL, repr(killed))
                self.assertEqual(self.incoming(ctid, 2), (sent * (UDP4 + 100), sent))
        last.unlink(missing_ok=True)
        vzstat("--record", check=0)
        vzctl("stop", ctid, "--fast", check=0)
        self.assertEqual(self.incoming(ctid, 2), (sent * (UDP4 + 100), sent))

    def test_cpu_time_is_that_of_the_control_group(self):
        """What the kernel counted up to the end of a run is in the sum, once."""
        group = next((g for g in ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                      if pathlib.Path(g, "vz.slice").exists() or g.endswith("cpuacct") and pathlib.Path(g).exists()))
        ctid = self.started()
        seen, rounding = 0.0, 1e-6  # sums of numbers with six places, in binary
        for _ in range(3):
            self.inside(ctid, "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
            path = pathlib.Path(group, "vz.slice", f"vz-{ctid}.scope", "ct")
            if (path / "cpuacct.usage").exists():
                kernel = int((path / "cpuacct.usage").read_text()) / 1e9
            else:
                kernel = int((path / "cpu.stat").read_text().split()[1]) / 1e6
            now = usage(ctid)["cpu_seconds"]
            self.assertGreaterEqual(now, seen + kernel - rounding)
            vzctl("stop", ctid, "--fast", check=0)
            end = usage(ctid)["cpu_seconds"]
            self.assertGreaterEqual(end, seen + kernel - rounding)
            self.assertLess(end, seen + kernel + 5, "counted twice")
            seen = end
            vzctl("start", ctid, check=0)

    def test_many_writers(self):
        """Recorders, readers and a stop at the same time: the sum stays exact."""
        ctid = self.started()
        stop = threading.Event()
        failed = []

        def record():
            while not stop.is_set():
                done = vzstat("--record")
                if done.rc:
                    failed.append(done)
        threads = [threading.Thread(target=record) for _ in range(4)]
        for t in threads:
            t.start()
        last = (0, 0)
        try:
            for i in range(1, 31):
                self.send(2, [100])
                now = self.incoming(ctid, 2)
                self.assertEqual(now, (i * (UDP4 + 100), i))
                last = now
            vzctl("stop", ctid, "--fast", check=0)
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(failed, [])
        self.assertEqual(self.incoming(ctid, 2), last)

    def test_damaged_record_is_set_aside(self):
        ctid = self.started()
        vzstat("--record", check=0)
        record = LIB / str(ctid) / "record.json"
        good = json.loads(record.read_text())
        self.assertEqual((good["version"], good["id"]), (1, ctid))
        for damage in ("", "{", json.dumps({**good, "version": 99})):
            record.write_text(damage)
            done = vzstat("--record", check=0)
            self.assertIn("damaged", done.err)
            self.assertEqual(json.loads(record.read_text())["id"], ctid)
        self.assertTrue(list(record.parent.glob("*.damaged-*")))
        vzctl("stop", ctid, "--fast", check=0)

    def test_destroy_ends_the_series(self):
        ctid = self.started()
        self.send(2, [100])
        vzstat("--record", check=0)
        first = usage(ctid)["series"]
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("destroy", ctid, check=0)
        self.assertFalse((LIB / str(ctid)).exists())
        entries = vzstat("--json", ctid, check=0).json()["containers"]
        self.assertEqual([(e["series"], e["destroyed"]) for e in entries], [(first, True)], "its bill is still there")
        self.assertEqual(entries[0]["traffic"][0]["in_bytes"], UDP4 + 100)
        self.create("--ipadd", self.ip4, "--ipadd", self.ip6, ctid=ctid)
        vzctl("start", ctid, check=0)
        self.send(2, [100])
        self.assertEqual(self.incoming(ctid, 2), (UDP4 + 100, 1), "a new container begins at zero")


class Reports(UsageTest):
    def test_periods(self):
        ctid = self.started("--name", f"bill{os.getpid()}")
        self.send(2, [1000] * 3)
        vzstat("--record", check=0)
        entry = usage(ctid)
        for key in ("cpu_seconds", "ram_gib_hours", "run_seconds"):
            self.assertGreaterEqual(entry[key], 0)
        self.assertEqual(entry["name"], f"bill{os.getpid()}")
        # An hour ago it had used nothing; in the next hour nothing is used yet.
        self.assertEqual(usage(ctid)["traffic"], vzstat("--json", "--since", "1h", ctid, check=0).json()
                         ["containers"][0]["traffic"])
        self.assertEqual(vzstat("--json", "--until", "1h", ctid, check=0).json()["containers"], [])
        rows = list(csv.DictReader(io.StringIO(vzstat("--format", "csv", ctid, check=0).out)))
        self.assertEqual((rows[0]["ctid"], rows[0]["class2_in_bytes"]), (str(ctid), str(3 * (UDP4 + 1000))))
        self.assertEqual(rows[0]["class14_out_bytes"], "0")
        text = vzstat(ctid, check=0).out
        self.assertIn("RAM(GiB*h)", text)
        self.assertIn(str(ctid), text)

    def test_bad_times(self):
        for bad in ("", "yesterday", "2026-02-30", "@", "@-5", "5", "2026-13-01", "d", "1w"):
            refused = vzstat("--since", bad)
            self.assertRc(refused, 1)
            self.assertIn("no time", refused.err)
        self.assertRc(vzstat("--since", "@2000000000", "--until", "@1900000000"), 1)

    def test_torn_journal(self):
        """A crash leaves half a line: the next one is whole."""
        ctid = self.started()
        vzstat("--record", check=0)
        (LIB / "journal" / "last").unlink(missing_ok=True)
        vzstat("--record", check=0)
        [journal] = (LIB / "journal").glob("*.jsonl")
        with journal.open("a") as f:
            f.write('{"id":%d,"t":' % ctid)
        (LIB / "journal" / "last").unlink()
        vzstat("--record", check=0)
        lines = journal.read_text().splitlines()
        self.assertTrue(all(json.loads(line) for line in lines if not line.endswith('"t":')), lines)
        self.assertEqual(json.loads(lines[-1])["id"], ctid)
        self.assertIn(ctid, [e["ctid"] for e in vzstat("--json", check=0).json()["containers"]])
        vzctl("stop", ctid, "--fast", check=0)


class Metrics(UsageTest):
    def families(self, text):
        self.assertTrue(text.endswith("# EOF\n"), text[-200:])
        # Debian's Python has Debian's module, whichever Python runs this.
        parse = ("import json,sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as f\n"
                 "print(json.dumps([[m.name,[[x.labels,x.value] for x in m.samples]] for m in f(sys.stdin.read())]))")
        parsed = run(["/usr/bin/python3", "-c", parse], stdin=text)
        if "ModuleNotFoundError" in parsed.err:
            self.skipTest("python3-prometheus-client is not installed")
        self.assertRc(parsed, 0)
        return dict(parsed.json())

    def value(self, families, metric, /, **labels):
        found = [value for have, value in families[metric] if all(have.get(k) == v for k, v in labels.items())]
        self.assertEqual(len(found), 1, f"{metric} {labels}: {found}")
        return found[0]

    def test_migrations(self):
        """One that was left in the middle, and a journal that nobody can read."""
        self.assertEqual(self.families(vzctl("metrics", check=0).out)["vz_migration"], [])
        fields = dict.fromkeys("session peer transport config usage keep start token private".split(), "")
        journals = pathlib.Path("/var/lib/vz/migrate")
        journals.mkdir()
        self.addCleanup(shutil.rmtree, journals)
        (journals / "990101.json").write_text(json.dumps({**fields, "version": 1, "side": "source", "phase": "committed"}))
        (journals / "990102.json").write_text("{")
        families = self.families(vzctl("metrics", check=0).out)
        self.assertEqual(self.value(families, "vz_migration", ctid="990101", side="source", phase="committed"), 1)
        self.assertEqual(self.value(families, "vz_migration", ctid="990102", phase="damaged"), 1)

    def test_strict_parser(self):
        ctid = self.started("--name", f"metrics{os.getpid()}", "--ram", "64M", "--swap", "0")
        self.send(2, [100])
        self.send(15, [100])
        families = self.families(vzctl("metrics", check=0).out)
        me = {"ctid": str(ctid)}
        self.assertEqual(self.value(families, "vz_container", **me, name=f"metrics{os.getpid()}"), 1)
        self.assertEqual(self.value(families, "vz_container_running", **me), 1)
        self.assertEqual(self.value(families, "vz_network_bytes", **me, family="ipv4", **{"class": "2"},
                                    direction="in"), UDP4 + 100)
        self.assertEqual(self.value(families, "vz_network_packets", **me, family="ipv6", **{"class": "15"},
                                    direction="in"), 1)
        self.assertEqual(self.value(families, "vz_ram_limit_bytes", **me), 64 << 20)
        self.assertGreater(self.value(families, "vz_cpu_seconds", **me), 0)
        self.assertGreater(self.value(families, "vz_ram_bytes", **me), 0)
        self.assertGreater(self.value(families, "vz_beancounter_held", **me, resource="numproc"), 0)
        vzctl("stop", ctid, "--fast", check=0)
        families = self.families(vzctl("metrics", check=0).out)
        self.assertEqual(self.value(families, "vz_container_running", **me), 0)
        self.assertGreater(self.value(families, "vz_cpu_seconds", **me), 0, "counters stay when it is stopped")


class Exporter(UsageTest):
    PORT = 19788

    def exporter(self):
        process = subprocess.Popen([vzhost.BIN / "vz-exporter", "--listen", f"127.0.0.1:{self.PORT}"],
                                   stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        vzhost.wait_for(self.answers, what="the exporter listens")
        return process

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.PORT), 1).close()
            return True
        except OSError:
            return False

    def ask(self, request, end=True, timeout=20):
        with socket.create_connection(("127.0.0.1", self.PORT), timeout) as s:
            try:
                s.sendall(request)
            except OSError:
                pass
            if end:
                s.shutdown(socket.SHUT_WR)
            data = b""
            while chunk := s.recv(65536):
                data += chunk
            return data

    def test_page(self):
        self.exporter()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.PORT}/metrics") as page:
            text = page.read().decode()
            self.assertEqual(page.status, 200)
            self.assertTrue(page.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"))
        self.assertIn("# TYPE vz_cpu_seconds counter", text)
        self.assertTrue(text.endswith("# EOF\n"))
        head = self.ask(b"HEAD /metrics HTTP/1.0\r\n\r\n", end=False)
        self.assertTrue(head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n"), head)

    def test_wrong_requests(self):
        self.exporter()
        host = b"Host: x\r\n\r\n"
        for request, status in ((b"GET / HTTP/1.1\r\n" + host, 404), (b"GET /metrics/../x HTTP/1.1\r\n" + host, 404),
                                (b"POST /metrics HTTP/1.1\r\n" + host, 405), (b"GET /metrics HTTP/2.0\r\n" + host, 505),
                                (b"GET /metrics HTTP/1.1\r\n\r\n", 400), (b"GET /metrics\r\n\r\n", 400),
                                (b"\r\n\r\n", 400), (b"G\0T /metrics HTTP/1.1\r\n" + host, 400),
                                (b"GET /metrics HTTP/1.1\r\nbroken\r\n" + host, 400),
                                (b"\x16\x03\x01\x02\x00\x01" + b"x" * 300 + b"\n\n", 400),
                                (b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 20000, 431)):
            reply = self.ask(request, end=False)
            self.assertTrue(reply.startswith(b"HTTP/1.1 %d " % status), f"{request[:60]}: {reply[:60]}")
        self.assertIn(b"Allow: GET", self.ask(b"PUT /metrics HTTP/1.1\r\n" + host, end=False))

    def test_slow_clients_do_not_keep_others_waiting(self):
        self.exporter()
        slow = [socket.create_connection(("127.0.0.1", self.PORT)) for _ in range(10)]
        for s in slow:
            s.sendall(b"GET /metr")
        self.assertTrue(self.ask(b"GET /metrics HTTP/1.0\r\n\r\n", end=False).endswith(b"# EOF\n"))
        slow[0].settimeout(30)
        self.assertTrue(slow[0].recv(100).startswith(b"HTTP/1.1 408 "))
        for s in slow:
            s.close()

    def test_socket_activation(self):
        """As systemd does it: descriptor 3 listens, LISTEN_FDS and LISTEN_PID say so."""
        server = socket.create_server(("127.0.0.1", self.PORT))
        self.addCleanup(server.close)
        fd = server.fileno()

        def pass_socket():
            os.dup2(fd, 3)
            os.set_inheritable(3, True)
            os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
            os.execv(vzhost.BIN / "vz-exporter", ["vz-exporter"])
        pid = os.fork()
        if pid == 0:
            try:
                pass_socket()
            finally:
                os._exit(127)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, signal.SIGTERM)
        self.assertTrue(self.ask(b"GET /metrics HTTP/1.0\r\n\r\n", end=False).startswith(b"HTTP/1.1 200 "))


class Top(UsageTest):
    def vztop(self, *args, **kw):
        return run([vzhost.BIN / "vztop", *args], **kw)

    def test_batch(self):
        ctid = self.started("--name", f"top{os.getpid()}")
        busy = subprocess.Popen([vzhost.BIN / "vzctl", "exec", str(ctid), "while :; do :; done"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(busy.wait)
        self.addCleanup(busy.kill)
        out = self.vztop("-b", "-n", "2", "-d", "0.5", check=0).out
        self.assertEqual(out.count("Containers: "), 2)
        self.assertEqual(out.count("PSIcpu"), 2)
        row = [r for r in self.vztop("-b", "-j", "-o", "cpu", check=0).json() if r["ctid"] == ctid][0]
        self.assertEqual(row["name"], f"top{os.getpid()}")
        self.assertGreater(row["cpu"], 0)
        self.assertGreater(row["ram"], 0)
        self.assertGreaterEqual(row["nproc"], 2)
        self.assertIn("numproc", self.vztop("-b", "-d", "0.1", ctid, check=0).out)

    def test_sort_and_bad_options(self):
        a, b = self.started(), self.started()
        first = [r["ctid"] for r in self.vztop("-b", "-j", "-d", "0.1", "-o", "ctid", check=0).json()]
        back = [r["ctid"] for r in self.vztop("-b", "-j", "-d", "0.1", "-o", "ctid", "-r", check=0).json()]
        self.assertEqual(first, sorted(first))
        self.assertEqual(back, first[::-1])
        self.assertTrue({a, b} <= set(first))
        for bad in (["-o", "x"], ["-n", "0"], ["-n", "x"], ["-d", "0"], ["-d", "nan"], ["-d", ""], ["999999"]):
            self.assertRc(self.vztop("-b", *bad), 1)
        self.assertIn("vztop -b", self.vztop().err)

    def test_screen(self):
        """On a terminal: the list, one container in detail, help, and out again."""
        ctid = self.started("--name", f"scr{os.getpid()}")
        self.send(2, [100])
        with Terminal([vzhost.BIN / "vztop", "-d", "0.5"], rows=60, cols=140, env={"TERM": "xterm"}) as top:
            # Curses sends only what changes on the screen.
            def press(keys, shown):
                start = len(top.screen)
                top.type(keys)
                top.expect(shown, start=start)
            top.expect(f"{ctid} scr{os.getpid()}")
            press("a", "name, every")
            press("\r", "numproc")
            press("q", "PSIcpu")
            press("?", "slower, faster")
            press("q", "PSIcpu")
            top.type("q")
            self.assertEqual(top.wait(), 0)


if __name__ == "__main__":
    vzhost.main()

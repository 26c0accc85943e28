#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Backups from inside (--features backups:on): what a container's root can do through /dev/vz/backups, that nobody else
can, and that neither a hostile container nor whoever is killed in the middle does harm.

The kill -9 tests take their steps from a traced run: a new step is tested as soon as it exists.
"""
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from node import Node, large_pipes
from vzhost import run, vzctl, vzd_pid, wait_for

PRIVATE = pathlib.Path("/var/lib/vz/private")
BACKUPS = pathlib.Path("/var/lib/vz/backup")
CLIENT = pathlib.Path("/run/vz/owner_client")
OVER = ("done", "failed", "interrupted")


def state_of(ctid):
    return json.loads(pathlib.Path(f"/run/vz/{ctid}/state.json").read_text())


def record_of(ctid):
    return json.loads(pathlib.Path(f"/run/vz/owner/{ctid}.json").read_text())


def connect(ctid, uid=0, path="/dev/vz/backups"):
    """A socket that a process of this user of the container has connected. OSError as it has got it."""
    state = state_of(ctid)
    here, there = socket.socketpair()
    with here, there:
        pid = os.fork()
        if pid == 0:
            try:
                os.chroot(f"/proc/{state['init']['pid']}/root")
                number = state["idmap"]["base"] + uid
                os.setgroups([])
                os.setresgid(number, number, number)
                os.setresuid(number, number, number)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(path)
                    socket.send_fds(there, [b"0"], [sock.fileno()])
            except OSError as e:
                there.send(str(e.errno).encode())
            finally:
                os._exit(0)
        there.close()
        word, fds, _, _ = socket.recv_fds(here, 16, 1)
        os.waitpid(pid, 0)
    if not fds:
        raise OSError(int(word or b"0"), os.strerror(int(word or b"0")))
    return socket.socket(fileno=fds[0])


def reply_of(sock):
    """Status, header and body; vzd closes when it has said all."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
    head, _, body = data.decode().partition("\r\n\r\n")
    return (int(head.split()[1]) if head else 0), head, body


def say(ctid, data, **kw):
    with connect(ctid, **kw) as sock:
        with contextlib.suppress(BrokenPipeError):
            sock.sendall(data)
        return reply_of(sock)


def ask(ctid, method, target, header="", **kw):
    status = 408  # on a machine so slow that ten seconds pass between connecting and sending
    while status == 408:
        status, _, body = say(ctid, f"{method} {target} HTTP/1.1\r\nHost: vz\r\n{header}\r\n".encode(), **kw)
    return status, json.loads(body) if body.startswith(("{", "[")) else body


def start_vzd(log=None, **env):
    """A vzd of ours instead of the one there is, with faults if they are asked for."""
    end_vzd()
    process = subprocess.Popen([vzhost.BIN / "vzd", "-v"], stdin=subprocess.DEVNULL, stdout=log or subprocess.DEVNULL,
                               stderr=subprocess.STDOUT, env={**os.environ, **env}, start_new_session=True)
    wait_for(lambda: vzd_pid() == process.pid and listening("/run/vz/vzd.sock"), what="vzd")
    return process


def listening(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        try:
            sock.connect(str(path))
            return True
        except OSError:
            return False


def has_ended(pidfd):
    return bool(select.select([pidfd], [], [], 0)[0])


def end_vzd(how=signal.SIGTERM):
    pid = vzd_pid()
    if pid is None:
        return
    fd = os.pidfd_open(pid)
    os.kill(pid, how)
    wait_for(lambda: has_ended(fd), what="the end of vzd")
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, fd, os.WEXITED)  # ours
    os.close(fd)


class OwnerTest(vzhost.HostTest):
    @classmethod
    def setUpClass(cls):
        if not CLIENT.exists():
            run(["gcc", "-O1", "-static", vzhost.SOURCE / "tests/support/owner_client.c", "-o", CLIENT], check=0)

    def make(self, layout="image", *options, space="100M", diskspace="64M"):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        if layout == "dir":
            pathlib.Path("/etc/vz/conf/ve-none.conf-sample").write_text("")
            options += ("--layout", "dir", "--config", "none")
        else:
            options += ("--diskspace", diskspace)
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), *options, check=0)
        vzctl("set", ctid, "--features", "backups:on", "--backup-space", space, "--save", check=0)
        vzctl("start", ctid, "--force", check=0)
        return ctid

    def wipe(self, ctid):
        super().wipe(ctid)
        shutil.rmtree(BACKUPS / str(ctid), ignore_errors=True)

    def served(self, ctid):
        """Somebody listens there, again."""
        def answers():
            try:
                return ask(ctid, "GET", "/status")[0] == 200
            except OSError:
                return False
        wait_for(answers, timeout=120, what=f"/dev/vz/backups of {ctid}")

    def over(self, ctid):
        """How the operation has ended."""
        def ended():
            record = record_of(ctid)
            return record if record["state"] in OVER else None
        return wait_for(ended, timeout=300, what=f"the end of {record_of(ctid)}")

    def do(self, ctid, method, target, state="done"):
        status, body = ask(ctid, method, target)
        self.assertEqual(status, 202, body)
        record = self.over(ctid)
        self.assertEqual(record["state"], state, record)
        self.idle(ctid)
        return record

    def idle(self, ctid):
        """Its vzd, too, knows that nothing goes on: it takes the next one."""
        self.served(ctid)
        wait_for(lambda: ask(ctid, "GET", "/status")[1]["state"] in OVER, what=f"the end as vzd of {ctid} has it")

    def backup(self, ctid, *, incremental=False):
        return self.do(ctid, "POST", "/backups" + ("?incremental=1" if incremental else ""))["backup"]

    def names(self, ctid):
        status, body = ask(ctid, "GET", "/backups")
        self.assertEqual(status, 200, body)
        return [b["name"] for b in body["backups"]]

    def config(self, ctid):
        return pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()

    @contextlib.contextmanager
    def turn_taken(self, ctid):
        """What is asked for meanwhile waits."""
        pathlib.Path("/run/vz/owner").mkdir(mode=0o700, exist_ok=True)
        with open(f"/run/vz/owner/turn.{ctid % 4}", "w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield


class FromInside(OwnerTest):
    def test_with_a_program_inside(self):
        ctid = self.make()
        vzctl("exec2", ctid, "cat > /bin/ask; chmod 755 /bin/ask", stdin=CLIENT.read_bytes(), check=0)
        self.assertIn("GET    /backups", self.inside(ctid, "ask GET /"))
        self.assertIn("HTTP/1.1 202 ", self.inside(ctid, "ask POST /backups"))
        self.over(ctid)
        self.assertRegex(self.inside(ctid, "ask GET '/status?format=text'"), rf"backup {ctid}-[0-9-]+: done: .*KiB")
        text = self.inside(ctid, "ask GET '/backups?format=text'")
        self.assertRegex(text, rf"{ctid}-[0-9-]+ +full +\d{{4}}-\d\d-\d\d .* owner")
        self.assertRegex(text, r"of 100 MiB used")
        self.inside(ctid, "adduser -D -H somebody 2>/dev/null || echo 'somebody:x:1000:1000::/:/bin/sh' >> /etc/passwd")
        self.assertEqual(vzctl("exec2", ctid, "su somebody -s /bin/sh -c 'ask GET /status'").rc, errno.EACCES)

    def everything(self, layout):
        ctid = self.make(layout, "--hostname", "then.example")
        self.assertEqual(ask(ctid, "GET", "/status"), (200, {"state": "none"}))
        self.assertEqual(self.names(ctid), [])
        self.inside(ctid, "echo then > /state; sync")
        full = self.backup(ctid)
        self.inside(ctid, "echo between > /state; sync")
        second = self.backup(ctid, incremental=True)
        status, listed = ask(ctid, "GET", "/backups")
        self.assertEqual([(b["name"], b["kind"], b["on"], b["by"], b["problem"]) for b in listed["backups"]],
                         [(full, "full", None, "owner", None), (second, "incremental", full, "owner", None)])
        self.assertEqual((listed["limit"], listed["used"]), (100 << 20, sum(b["bytes"] for b in listed["backups"])))
        on_host = vzctl("backup-list", ctid, "--json", check=0).json()
        self.assertEqual([(b["name"], b["by"]) for b in on_host], [(full, "owner"), (second, "owner")])
        self.inside(ctid, "echo now > /state; sync")
        # What the admin has set since is his business and stays.
        vzctl("set", ctid, "--hostname", "now.example", "--ram", "200M", "--swap", "0", "--save", "--force", check=0)
        config, boot = self.config(ctid), state_of(ctid)["init"]
        for name, content in ((second, "between"), (full, "then")):
            record = self.do(ctid, "POST", f"/backups/{name}/restore")
            self.assertEqual((record["operation"], record["backup"]), ("restore", name))
            self.assertEqual(self.inside(ctid, "cat /state; hostname").split(), [content, "now.example"])
            self.assertEqual(self.config(ctid), config)
            self.assertNotEqual(state_of(ctid)["init"], boot)
            self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())
        self.assertEqual(ask(ctid, "DELETE", f"/backups/{full}")[0], 409)
        self.assertEqual(ask(ctid, "DELETE", f"/backups/{second}")[0], 200)
        self.assertEqual(ask(ctid, "DELETE", f"/backups/{second}")[0], 404)
        self.assertEqual(ask(ctid, "DELETE", f"/backups/{full}")[0], 200)
        self.assertEqual(self.names(ctid), [])
        self.assertEqual(list((BACKUPS / str(ctid)).iterdir()), [])

    def test_image(self):
        self.everything("image")

    def test_directory(self):
        self.everything("dir")

    def test_the_size_of_the_disk_is_that_of_now(self):
        def blocks(ctid):
            return int(self.inside(ctid, "df -k /").split("\n")[1].split()[1])
        ctid = self.make()
        name, before = self.backup(ctid), blocks(ctid)
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("set", ctid, "--diskspace", "128M", "--save", check=0)
        vzctl("start", ctid, check=0)
        self.served(ctid)
        self.do(ctid, "POST", f"/backups/{name}/restore")
        self.assertGreater(blocks(ctid), before * 1.7)
        large = self.backup(ctid)
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("set", ctid, "--diskspace", "64M", "--save", check=0)
        vzctl("start", ctid, check=0)
        self.served(ctid)
        pid = state_of(ctid)["init"]
        record = self.do(ctid, "POST", f"/backups/{large}/restore", state="failed")
        self.assertIn("does not fit", record["message"])
        self.assertEqual(state_of(ctid)["init"], pid)  # it was never stopped
        self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())

    def test_what_the_host_made(self):
        """It can be restored, and not deleted: who breaks into a container has not its backups, too."""
        ctid = self.make()
        self.inside(ctid, "echo then > /state; sync")
        name = vzctl("backup", ctid, "--json", "--description", "secret", check=0).json()[0]["name"]
        self.inside(ctid, "echo now > /state; sync")
        status, listed = ask(ctid, "GET", "/backups")
        self.assertEqual([(b["name"], b["by"]) for b in listed["backups"]], [(name, "host")])
        for hidden in ("secret", "/var/lib", socket.gethostname()):
            self.assertNotIn(hidden, json.dumps(listed))
        self.assertEqual(ask(ctid, "DELETE", f"/backups/{name}")[0], 403)
        self.do(ctid, "POST", f"/backups/{name}/restore")
        self.assertEqual(self.inside(ctid, "cat /state").strip(), "then")
        self.assertEqual(self.names(ctid), [name])

    def test_snapshots_are_not_lost(self):
        ctid = self.make()
        name = self.backup(ctid)
        vzctl("snapshot", ctid, "--skip-suspend", check=0)
        self.served(ctid)
        self.assertIn("snapshots", self.do(ctid, "POST", f"/backups/{name}/restore", state="failed")["message"])

    def test_room(self):
        ctid = self.make(space="100M")
        first = self.backup(ctid)
        size = (BACKUPS / str(ctid) / f"{first}.vzb").stat().st_size
        vzctl("set", ctid, "--backup-space", f"{(size >> 10) + 200}K", "--save", check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/noise bs=1k count=2000 2>/dev/null; sync")
        self.assertIn("no room", self.do(ctid, "POST", "/backups", state="failed")["message"])
        self.assertEqual([p.name for p in (BACKUPS / str(ctid)).iterdir()], [f"{first}.vzb"])
        self.assertEqual(self.names(ctid), [first])

    def test_number(self):
        """Small ones do not fill the room; their number is bounded, too."""
        ctid = self.make(space="10G")
        first = self.backup(ctid)
        path = BACKUPS / str(ctid)
        for n in range(99):
            shutil.copy(path / f"{first}.vzb", path / f"{ctid}-20200101-0000{n:02}.vzb")
        self.assertEqual(len(self.names(ctid)), 100)
        status, body = ask(ctid, "POST", "/backups")
        self.assertEqual(status, 507, body)
        self.assertEqual(ask(ctid, "DELETE", f"/backups/{ctid}-20200101-000007")[0], 200)
        self.backup(ctid)

    def test_a_damaged_one(self):
        """Found before the container is stopped."""
        ctid = self.make()
        name = self.backup(ctid)
        path = BACKUPS / str(ctid) / f"{name}.vzb"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        pid = state_of(ctid)["init"]
        self.assertIn("damaged", self.do(ctid, "POST", f"/backups/{name}/restore", state="failed")["message"])
        self.assertEqual(state_of(ctid)["init"], pid)
        self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())
        path.write_bytes(b"nothing")
        for method, end in (("POST", "/restore"), ("DELETE", "")):  # whose it was nobody knows any more
            self.assertEqual(ask(ctid, method, f"/backups/{name}{end}")[0], 404)
        self.assertEqual(self.names(ctid), [])

    def test_one_that_lacks_what_it_builds_on(self):
        ctid = self.make()
        full = self.backup(ctid)
        second = self.backup(ctid, incremental=True)
        (BACKUPS / str(ctid) / f"{full}.vzb").unlink()
        self.assertEqual([b["problem"] for b in ask(ctid, "GET", "/backups")[1]["backups"]], ["damaged or incomplete"])
        self.assertEqual(ask(ctid, "POST", f"/backups/{second}/restore")[0], 404)
        self.assertEqual(ask(ctid, "DELETE", f"/backups/{second}")[0], 200)


class Allowed(OwnerTest):
    def test_off(self):
        ctid = self.start()
        self.assertEqual(self.inside(ctid, "test -e /dev/vz || echo none").strip(), "none")
        self.assertFalse(pathlib.Path(f"/run/vz/{ctid}/owner").exists())

    def test_needs_a_bound(self):
        ctid = self.create()
        for options in ((), ("--backup-space", "unlimited"), ("--backup-space", "0")):
            result = vzctl("set", ctid, "--features", "backups:on", *options, "--save")
            self.assertRc(result, 21)
            self.assertIn("--backup-space", result.err)
        vzctl("set", ctid, "--features", "backups:on", "--backup-space", "10M", "--save", check=0)
        self.assertRc(vzctl("set", ctid, "--backup-space", "unlimited", "--save"), 21)
        path = pathlib.Path(f"/etc/vz/conf/{ctid}.conf")
        path.write_text(re.sub("BACKUP_SPACE=.*\n", "", path.read_text()))
        self.assertRc(vzctl("start", ctid), 21)

    def test_taken_back_while_it_runs(self):
        ctid = self.make()
        name = self.backup(ctid)
        vzctl("set", ctid, "--features", "backups:off", "--save", check=0)
        for method, target in (("GET", "/backups"), ("POST", "/backups"), ("DELETE", f"/backups/{name}"),
                               ("POST", f"/backups/{name}/restore")):
            self.assertEqual(ask(ctid, method, target)[0], 403, target)
        self.assertEqual(len(list((BACKUPS / str(ctid)).iterdir())), 1)
        vzctl("restart", ctid, check=0)
        self.assertEqual(self.inside(ctid, "test -e /dev/vz || echo none").strip(), "none")

    def test_only_its_root(self):
        ctid = self.make()
        for uid in (1, 1000, 65534):
            with self.assertRaises(PermissionError):
                connect(ctid, uid)
        # The host's root may go everywhere, and has vzctl for this.
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"/run/vz/{ctid}/owner/backups")
            sock.sendall(b"GET /backups HTTP/1.0\r\n\r\n")
            self.assertEqual(reply_of(sock)[0], 403)
        # Even if its root would let others.
        self.inside(ctid, "mount -o remount,rw,bind /dev/vz; chmod 666 /dev/vz/backups; true")
        for uid in (1, 65534):
            with contextlib.suppress(PermissionError):
                self.assertEqual(ask(ctid, "GET", "/backups", uid=uid)[0], 403)
        self.assertEqual(self.inside(ctid, "touch /dev/vz/x || rm /dev/vz/backups || mkdir /dev/vz/y || echo refused").strip(),
                         "refused")
        self.assertEqual(ask(ctid, "GET", "/backups")[0], 200)
        self.assertEqual(sorted(os.listdir(f"/run/vz/{ctid}/owner")), ["backups"])

    def test_only_its_own(self):
        ctid, other = self.make(), self.make()
        foreign, name = self.backup(other), self.backup(ctid)
        # Another container's, under a name as of this one.
        disguised = f"{ctid}-20200101-000000"
        shutil.copy(BACKUPS / str(other) / f"{foreign}.vzb", BACKUPS / str(ctid) / f"{disguised}.vzb")
        self.assertEqual(self.names(ctid), [name])
        pid = state_of(ctid)["init"]
        for wrong in (foreign, disguised, f"../{other}/{foreign}", f"{name}.vzb", f"{name}%00", f"..%2f{other}%2f{foreign}",
                      f"{name}/../{name}", "", ".", "..", f"/{name}", f"{ctid}", f"{ctid}-", f"{name}-", f"{name}-x",
                      f"{name}?x=1", f"{name}/restore/restore", "x" * 4000, f"{ctid}-99999999-999999"):
            for method, end in (("DELETE", ""), ("POST", "/restore")):
                status, body = ask(ctid, method, f"/backups/{wrong}{end}")
                self.assertIn(status, (400, 404, 405), (wrong, body))
        self.assertEqual(state_of(ctid)["init"], pid)
        self.assertTrue((BACKUPS / str(other) / f"{foreign}.vzb").exists())
        self.assertEqual(self.names(ctid), [name])

    def test_not_those_of_an_earlier_container(self):
        """The number is given to somebody else: what the one before had is not his. Back from a backup, it is the same one."""
        ctid = self.make()
        name = self.backup(ctid)
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("destroy", ctid, check=0)
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "64M", check=0)
        vzctl("set", ctid, "--features", "backups:on", "--backup-space", "100M", "--save", check=0)
        vzctl("start", ctid, check=0)
        self.served(ctid)
        self.assertEqual(self.names(ctid), [])
        for method, end in (("POST", "/restore"), ("DELETE", "")):
            self.assertEqual(ask(ctid, method, f"/backups/{name}{end}")[0], 404)
        self.assertIn("no backup to build on", self.do(ctid, "POST", "/backups?incremental=1", state="failed")["message"])
        self.assertRc(vzctl("backup", ctid, "--incremental"), 174)
        self.idle(ctid)
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("restore-backup", name, "--replace", check=0)
        vzctl("start", ctid, check=0)
        self.served(ctid)
        self.assertEqual(self.names(ctid), [name])

    def test_the_hosts_log_says_who_did_what(self):
        ctid = self.make()
        with tempfile.NamedTemporaryFile("r") as log:
            with open(log.name, "a") as out:
                start_vzd(out)
            self.served(ctid)
            name = self.backup(ctid)
            self.do(ctid, "POST", f"/backups/{name}/restore")
            ask(ctid, "DELETE", f"/backups/{name}")
            text = log.read()
        for line in ("owner: backup asked for", f"owner: backup {name}: done, ", f"owner: restore of {name} asked for",
                     f"owner: restore {name}: done", f"owner: deleted {name}"):
            self.assertIn(f"CT {ctid}: {line}", text)


class Hostile(OwnerTest):
    def test_wrong_requests(self):
        ctid = self.make()
        host = "Host: a\r\n\r\n"
        for status, text in ((400, "\r\n\r\n"), (400, "GET\r\n\r\n"), (400, "GET /backups HTTP/1.1\r\n\r\n"),
                             (505, f"GET /backups HTTP/3\r\n{host}"), (405, f"PUT /backups HTTP/1.1\r\n{host}"),
                             (405, f"POST /status HTTP/1.1\r\n{host}"), (404, f"GET /metrics HTTP/1.1\r\n{host}"),
                             (404, f"GET http://vz/backups HTTP/1.1\r\n{host}"), (400, f"GET /backups?x=1 HTTP/1.1\r\n{host}"),
                             (413, f"POST /backups HTTP/1.1\r\nContent-Length: 5\r\n{host}hello"),
                             (413, f"POST /backups HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{host}"),
                             (400, "\0" * 100 + "\r\n\r\n"), (431, "x" * 9000), (431, "GET / HTTP/1.1\r\n" + "a: b\r\n" * 2000)):
            with self.subTest(text=text[:40]):
                self.assertEqual(say(ctid, text.encode("latin1"))[0], status)
        for junk in (os.urandom(3000) + b"\n\n", b"\xff" * 5000 + b"\r\n\r\n"):
            self.assertEqual(say(ctid, junk)[0], 400)
        status, head, body = say(ctid, f"HEAD /backups HTTP/1.1\r\n{host}".encode())
        self.assertEqual((status, body), (200, ""))
        self.assertEqual(self.names(ctid), [])

    def test_half_a_request(self):
        ctid = self.make()
        with connect(ctid) as sock:
            sock.sendall(b"GET /backups HTT")
            self.assertEqual(reply_of(sock)[0], 408)
        with connect(ctid) as sock:  # all said, and still reading
            sock.sendall(b"GET /backups HTTP/1.0\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(reply_of(sock)[0], 200)

    def test_many_connections(self):
        """They wait in the queue of their own container, and vzd has what it had afterwards."""
        ctid, other = self.make(), self.make()
        self.names(other)
        pid = vzd_pid()
        def count():
            return len(os.listdir(f"/proc/{pid}/fd"))
        before = count()
        with contextlib.ExitStack() as held:
            for _ in range(24):
                held.enter_context(connect(ctid)).sendall(b"GET /")
            self.assertEqual(self.names(other), [])
            self.assertEqual(self.inside(other, "echo alive").strip(), "alive")
            self.assertLessEqual(count(), before + 16)  # eight, and what the two above may have left for a moment
        # The next one has its turn when the others have been thrown out.
        self.assertEqual(self.names(ctid), [])
        wait_for(lambda: count() <= before, what="no connection is left in vzd")
        for _ in range(100):
            connect(ctid).close()
        self.assertEqual(self.names(ctid), [])
        wait_for(lambda: count() <= before, what="no connection is left in vzd")
        self.assertEqual(vzd_pid(), pid)

    def test_who_does_not_wait_for_the_answer(self):
        ctid = self.make()
        pid = vzd_pid()
        for _ in range(30):
            with connect(ctid) as sock:
                sock.sendall(b"GET /backups HTTP/1.0\r\n\r\n")
        self.assertEqual(ask(ctid, "GET", "/status"), (200, {"state": "none"}))
        self.assertEqual(vzd_pid(), pid)

    def test_one_at_a_time(self):
        ctid, other = self.make(), self.make()
        name = self.backup(ctid)
        with self.turn_taken(ctid):
            self.assertEqual(ask(ctid, "POST", "/backups")[0], 202)
            for method, target in (("POST", "/backups"), ("POST", f"/backups/{name}/restore"), ("DELETE", f"/backups/{name}")):
                self.assertEqual(ask(ctid, method, target)[0], 409, target)
            self.assertEqual(ask(ctid, "GET", "/status")[1]["state"], "waiting")
            self.assertEqual(self.names(ctid), [name])
            if ctid % 4 != other % 4:
                self.backup(other)
        self.assertEqual(self.over(ctid)["state"], "done")
        self.assertEqual(len(self.names(ctid)), 2)

    def test_while_the_host_works_on_it(self):
        ctid = self.make()
        lock = pathlib.Path(f"/run/vz/lock/{ctid}.lck")
        with open(lock, "a+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.write(f"{os.getpid()}\nsetting\n")
            held.flush()
            self.assertIn("works on this container", self.do(ctid, "POST", "/backups", state="failed")["message"])


class Suspended(OwnerTest):
    def setUp(self):
        vzhost.need("criu")

    def test_with_a_connection(self):
        """It is closed, and the program that had it goes on."""
        ctid = self.make()
        name = self.backup(ctid)
        vzctl("exec2", ctid, "cat > /bin/ask; chmod 755 /bin/ask", stdin=CLIENT.read_bytes(), check=0)
        # One connection now, and one that the same session opens after the first restore.
        self.inside(ctid, "setsid sh -c 'ask hold > /said.1 & while ! test -e /again; do sleep 0.1; done; exec ask hold > /said.2' "
                          "> /dev/null 2>&1 < /dev/null &")
        self.inside(ctid, "mkdir /elsewhere; mount --bind /dev/vz /elsewhere")
        for said in ("/said.1", "/said.2"):
            # vzd gives it five seconds: the dump may come before that, or after.
            wait_for(lambda: "connected" in self.inside(ctid, f"cat {said} || true"), what="the connection")
            vzctl("chkpnt", ctid, check=0)
            self.assertFalse(pathlib.Path(f"/run/vz/{ctid}/owner").exists())
            vzctl("restore", ctid, check=0)
            self.served(ctid)
            self.assertEqual(self.names(ctid), [name])
            self.assertIn("HTTP/1.1 200 ", self.inside(ctid, "ask GET /backups"))
            wait_for(lambda: "closed" in self.inside(ctid, f"cat {said}"), what="its end")
            self.assertEqual(self.inside(ctid, "ls /elsewhere").split(), ["backups"])
            self.assertIn(" ro,", self.inside(ctid, "grep ' /dev/vz ' /proc/self/mounts"))
            self.inside(ctid, "touch /again")
        self.inside(ctid, "umount /elsewhere")
        self.do(ctid, "POST", f"/backups/{name}/restore")

    def test_switched_off_meanwhile(self):
        """What it had mounted it still has; nobody answers."""
        ctid = self.make()
        vzctl("chkpnt", ctid, check=0)
        vzctl("set", ctid, "--features", "backups:off", "--save", check=0)
        vzctl("restore", ctid, check=0)
        self.assertEqual(self.inside(ctid, "ls /dev/vz").strip(), "")
        vzctl("chkpnt", ctid, check=0)
        vzctl("restore", ctid, check=0)

    def test_while_a_backup_waits_for_its_turn(self):
        ctid = self.make()
        with self.turn_taken(ctid):
            self.assertEqual(ask(ctid, "POST", "/backups")[0], 202)
            vzctl("chkpnt", ctid, check=0)
            vzctl("restore", ctid, check=0)
        self.assertEqual(self.over(ctid)["state"], "done")


class Moved(OwnerTest):
    def test_live_there_and_back(self):
        """With a connection open; it is served there, where its backups of here are not."""
        vzhost.need("criu")
        large_pipes(self)
        b = Node(self)
        ctid = self.make("image", "--ram", "64M", "--swap", "0")
        self.addCleanup(b.wipe, ctid)
        name = self.backup(ctid)
        vzctl("exec2", ctid, "cat > /bin/ask; chmod 755 /bin/ask", stdin=CLIENT.read_bytes(), check=0)
        self.inside(ctid, "setsid ask hold > /said 2>&1 < /dev/null &")
        wait_for(lambda: "connected" in self.inside(ctid, "cat /said"), what="the connection")
        vzctl("migrate", ctid, "b", "--live", "--transport", b.transport(), check=0)

        def there(command):
            return b.vzctl("exec2", ctid, command).out
        wait_for(lambda: "HTTP/1.1 200 " in there("ask GET /status"), what="somebody who answers there")
        self.assertIn('"backups": []', there("ask GET /backups"))
        self.assertIn("closed", there("cat /said"))
        self.assertIn("HTTP/1.1 202 ", there("ask POST /backups"))
        wait_for(lambda: '"state": "done"' in there("ask GET /status"), timeout=120, what="a backup there")
        b.vzctl("migrate", ctid, "a", "--transport", b.back(), check=0)
        self.served(ctid)
        self.assertEqual(self.names(ctid), [name])


class Killed(OwnerTest):
    def prepare(self, layout="image"):
        ctid = self.make(layout)
        self.inside(ctid, "echo then > /state; sync")
        return ctid, self.backup(ctid)

    def test_vzd(self):
        """What goes on goes on; the next vzd knows of it."""
        ctid, name = self.prepare()
        with self.turn_taken(ctid):
            self.assertEqual(ask(ctid, "POST", "/backups")[0], 202)
            end_vzd(signal.SIGKILL)
            with self.assertRaises(ConnectionRefusedError):
                connect(ctid)
            start_vzd()
            self.served(ctid)
            self.assertEqual(ask(ctid, "GET", "/status")[1]["state"], "waiting")
            self.assertEqual(ask(ctid, "POST", "/backups")[0], 409)
        self.assertEqual(self.over(ctid)["state"], "done")
        self.assertEqual(len(self.names(ctid)), 2)
        wait_for(lambda: ask(ctid, "POST", "/backups")[0] == 202, what="the next one")
        self.assertEqual(self.over(ctid)["state"], "done")

    def test_a_backup(self):
        """At every step: it is there as a whole or not at all, and the container is as before."""
        for layout in ("image", "dir"):
            ctid, name = self.prepare(layout)
            with tempfile.NamedTemporaryFile("r") as trace:
                start_vzd(VZ_FAULT_TRACE=trace.name)
                self.served(ctid)
                self.backup(ctid, incremental=True)
                steps = vzhost.numbered(trace.read().split())
            self.assertIn("backup.finish:1", steps)
            for step in vzhost.some_steps(steps, every=3):
                with self.subTest(layout=layout, step=step):
                    start_vzd(VZ_FAULT=step)
                    self.served(ctid)
                    self.assertEqual(ask(ctid, "POST", "/backups?incremental=1")[0], 202)
                    record = self.over(ctid)
                    self.assertEqual(record["state"], "interrupted", record)
                    if record["message"] == "nothing was changed":
                        self.only_whole(ctid)
                    else:  # its repair passes the same step, and dies there, too: whoever comes next finishes it
                        self.assertIn("it failed", record["message"])
                        end_vzd()
                        vzctl("set", ctid, "--description", "touched", "--save", check=0)
                    self.inside(ctid, "echo alive", timeout=60)
                    start_vzd()
                    self.served(ctid)
                    self.backup(ctid, incremental=True)
                    self.only_whole(ctid)
                    vzctl("backup-verify", self.names(ctid)[-1], check=0)

    def started(self, ctid):
        """Who was killed may have left a child that holds the lock until it has noticed."""
        wait_for(lambda: vzctl("start", ctid).rc in (0, 32), timeout=60, what="vzctl start")

    def only_whole(self, ctid):
        self.assertEqual([p.name for p in (BACKUPS / str(ctid)).iterdir() if not p.name.endswith(".vzb")], [])

    def restore_killed_at(self, ctid, name, step, vzd):
        """Who makes it good: the same vzd, a vzd that comes later, or a vzctl start and then a vzd."""
        self.inside(ctid, "echo now > /state; sync")
        start_vzd(VZ_FAULT=step)
        self.served(ctid)
        with self.turn_taken(ctid):
            self.assertEqual(ask(ctid, "POST", f"/backups/{name}/restore")[0], 202)
            process = os.pidfd_open(record_of(ctid)["pid"])
            if vzd != "same":
                end_vzd(signal.SIGKILL)
        if vzd != "same":
            wait_for(lambda: has_ended(process), timeout=300, what="its death")
            if vzd == "vzctl":
                self.started(ctid)
            start_vzd()
        os.close(process)
        record = self.over(ctid)
        # Its repair passes the same step, where it is one of the start.
        if record["message"].startswith("it failed"):
            start_vzd()
            self.started(ctid)
            if (PRIVATE / f"{ctid}.tmp").exists():  # it has never stopped: with its next start that goes
                vzctl("restart", ctid, check=0)
        wait_for(lambda: self.status(ctid)[-1] == "running", what="the container runs")
        self.served(ctid)
        self.assertFalse((PRIVATE / f"{ctid}.tmp" / "restored.conf").exists())
        content = self.inside(ctid, "cat /state").strip()
        if record["state"] == "done":
            self.assertEqual(content, "then", record)
        return content

    def restore(self, layout):
        ctid, name = self.prepare(layout)
        config = self.config(ctid)
        with tempfile.NamedTemporaryFile("r") as trace:
            start_vzd(VZ_FAULT_TRACE=trace.name)
            self.served(ctid)
            self.do(ctid, "POST", f"/backups/{name}/restore")
            steps = vzhost.numbered(trace.read().split())
        steps = steps[steps.index("owner.running:1"):]
        self.assertIn("restore-backup.exchange:1", steps)
        seen = set()
        ways = ("same", "later", "vzctl")
        for n, step in enumerate(vzhost.ends_and_some_steps(steps) if os.environ.get("VZ_TEST_ALL_STEPS") == "1"
                                 else self.telling(steps, layout)):
            with self.subTest(layout=layout, step=step, vzd=ways[(n + os.getpid()) % 3]):
                seen.add(self.restore_killed_at(ctid, name, step, ways[(n + os.getpid()) % 3]))
                self.assertEqual(self.config(ctid), config)
        self.assertEqual(seen, {"then", "now"})

    def telling(self, steps, layout):
        """Those around what counts, and some of the others."""
        known = ["owner.running:1", "owner.restarting:1", "restore-backup.exchange:1", "owner.replaced:1", "restored.done:1",
                 "start.adopt:1"]
        if layout == "image":
            known += ["restore-backup.copy:1", "stop.request:1", "cleanup.state:1", "restored.config:1", "start.clone:1"]
        others = [s for s in steps if s not in known]
        some = set(vzhost.some_steps(others, every=12)) | set(known)
        return [s for s in steps if s in some]

    def test_a_restore_of_an_image(self):
        self.restore("image")

    def test_a_restore_of_a_directory(self):
        self.restore("dir")


if __name__ == "__main__":
    vzhost.main()

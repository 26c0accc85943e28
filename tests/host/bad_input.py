#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong words, wrong files and rude signals: refused with the right status and a message, and nothing is left behind."""
import json
import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from terminal import Terminal
from vzhost import run, vzctl, vzlist

CONF = pathlib.Path("/etc/vz/conf")
PRIVATE = pathlib.Path("/var/lib/vz/private")


def traces(ctid):
    """Every file, mount and loop device that carries this number."""
    found = [str(p) for where in ("/etc/vz", "/var/lib/vz/private", "/run/vz") for p in pathlib.Path(where).rglob("*")
             if str(ctid) in p.name and p.suffix not in (".lck", ".lock")]
    found += [line for line in run(["losetup", "-a"]).out.splitlines() if str(ctid) in line]
    found += [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if f"/{ctid}" in line]
    return found


def big_template(name="big"):
    """A busybox with a 400 MB file: unpacking it takes long enough to be interrupted."""
    path = vzhost.TEMPLATES / "cache" / f"{name}.tar"
    if not path.exists():
        good = vzhost.TEMPLATES / "cache" / f"{vzhost.busybox_template()}.tar.zst"
        run(["zstd", "-dqf", good, "-o", path], check=0)
        with open(path.with_suffix(".file"), "wb") as f:
            f.truncate(400 << 20)
        run(["tar", "-C", path.parent, "--append", "-f", path, path.with_suffix(".file").name], check=0)
        path.with_suffix(".file").unlink()
    return name


class Create(vzhost.HostTest):
    """Refused before anything is written."""

    def refused(self, args, rc, text, ctid=None):
        ctid = ctid or self.new_id()
        self.addCleanup(self.wipe, ctid)
        result = vzctl("create", ctid, "--diskspace", "64M", *args)
        self.assertRc(result, rc)
        self.assertIn(text, result.err)
        self.assertEqual(vzctl("status", ctid).out, f"CTID {ctid} deleted unmounted down\n", args)
        self.assertEqual(traces(ctid), [], args)
        return result

    BAD = [
        (["--frobnicate"], 20, "Unknown option: --frobnicate"),
        (["stray"], 20, "Unexpected argument: stray"),
        (["--ram"], 20, "--ram"),
        (["--ram", ""], 21, "--ram"),
        (["--ram", "-1"], 21, "--ram"),
        (["--ram", "-64M"], 21, "--ram"),
        (["--ram", "12X"], 21, "12X"),
        (["--ram", "1 G"], 21, "--ram"),
        (["--ram", "0x10M"], 21, "--ram"),
        (["--ram", "99999999999999999999"], 21, "--ram"),
        (["--ram", "17179869184G"], 21, "--ram"),  # 2^64 bytes
        (["--ram", "64M", "--swap", "18446744073709551615T"], 21, "--swap"),
        (["--swap", "-5M"], 21, "--swap"),
        (["--cpuunits", "7"], 21, "--cpuunits"),
        (["--cpuunits", "500001"], 21, "--cpuunits"),
        (["--cpulimit", "-1"], 21, "--cpulimit"),
        (["--cpus", "-1"], 21, "--cpus"),
        (["--cpumask", "1-0"], 21, "--cpumask"),
        (["--ioprio", "8"], 21, "--ioprio"),
        (["--iolimit", "-1M"], 21, "--iolimit"),
        (["--iopslimit", "-1"], 21, "--iopslimit"),
        (["--numproc", "-3"], 21, "--numproc"),
        (["--numproc", "5K"], 21, "--numproc"),
        (["--diskspace", "-1G"], 21, "--diskspace"),
        (["--diskspace", "1"], 21, "--diskspace"),  # 1 KiB
        (["--diskspace", "0"], 63, "diskspace"),
        (["--diskspace", "99999999999999T"], 21, "--diskspace"),
        (["--diskinodes", "-1"], 21, "--diskinodes"),
        (["--onboot", "maybe"], 21, "maybe"),
        (["--bootorder", "-1"], 21, "--bootorder"),
        (["--disabled", "2"], 21, "--disabled"),
        (["--layout", "qcow2"], 21, "qcow2"),
        (["--ipadd", "999.1.1.1"], 21, "999.1.1.1"),
        (["--ipadd", "127.0.0.1"], 21, "127.0.0.1"),
        (["--ipadd", "198.18.2.1", "--ipadd", "198.18.2.1/x"], 21, "198.18.2.1/x"),
        (["--hostname", "two words"], 21, "--hostname"),
        (["--hostname", "h" * 65], 21, "--hostname"),
        (["--hostname", "a\nb"], 21, "--hostname"),
        (["--nameserver", "nonsense"], 21, "nonsense"),
        (["--name", "a/b"], 21, "--name"),
        (["--name", "../../etc/passwd"], 21, "--name"),
        (["--name", "n" * 200], 21, "--name"),
        (["--name", "-x"], 21, "--name"),
        (["--description", 'double " quote'], 21, "--description"),
        (["--description", "`id`"], 21, "--description"),
        (["--description", "bell\x07"], 21, "--description"),
        (["--capability", "fly:on"], 21, "fly"),
        (["--features", "fly:on"], 21, "fly"),
        (["--features", "nesting"], 21, "nesting"),
        (["--mount_opts", "init=/bin/sh"], 21, "init"),
        (["--private", "relative/path"], 21, "--private"),
        (["--config", "nosuch"], 82, "nosuch"),
        (["--config", "../../../etc/passwd"], 82, "passwd"),
        (["--ostemplate", "nosuch"], 91, "nosuch"),
        (["--ostemplate", "../../../../tmp/evil"], 21, "--ostemplate"),
        (["--ostemplate", "/tmp/evil"], 21, "--ostemplate"),
    ]

    def test_bad_words(self):
        vzhost.busybox_template()
        for args, rc, text in self.BAD:
            with self.subTest(args=args):
                self.refused(args, rc, text)

    def test_the_last_line_says_that_creation_failed(self):
        result = self.refused(["--ostemplate", "nosuch"], 91, "vztmpl list")
        self.assertEqual(result.err.splitlines()[-1], "Creation of container private area failed")
        self.assertEqual(result.out, "")

    def test_bad_ids(self):
        for ctid, text in (("0", "CT0"), ("-1", "Bad CT ID -1"), ("2147483645", "Bad CT ID"), ("1e3", "1e3"), ("", "Bad CT ID"),
                           ("4294967397", "Bad CT ID"), ("101/../102", "101/../102"), ("18446744073709551717", "Bad CT ID")):
            with self.subTest(ctid=ctid):
                result = vzctl("create", ctid, "--ostemplate", vzhost.busybox_template())
                self.assertRc(result, 21)
                self.assertIn(text, result.err)
        self.assertFalse(PRIVATE.exists() and any(p.name in ("0", "1", "101") for p in PRIVATE.iterdir()))

    def test_id_taken(self):
        ctid = self.start("--hostname", "first.example")
        before = (CONF / f"{ctid}.conf").read_bytes()
        again = vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--hostname", "second.example")
        self.assertIn(again.rc, (32, 44), repr(again))
        vzctl("stop", ctid, "--fast", check=0)
        again = vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--hostname", "second.example")
        self.assertRc(again, 44)
        self.assertIn(str(PRIVATE / str(ctid)), again.err)
        self.assertEqual((CONF / f"{ctid}.conf").read_bytes(), before)
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "hostname").strip(), "first.example")

    def test_name_taken(self):
        name = f"taken-{os.getpid()}"
        owner = self.create("--name", name)
        result = self.refused(["--ostemplate", vzhost.busybox_template(), "--name", name], 131, f"already used by container {owner}")
        self.assertIn(name, result.err)

    def test_address_of_this_host(self):
        run(["ip", "addr", "add", "198.18.3.1/32", "dev", "lo"], check=0)
        self.addCleanup(run, ["ip", "addr", "del", "198.18.3.1/32", "dev", "lo"])
        ctid = self.create("--ipadd", "198.18.3.1")
        result = vzctl("start", ctid)
        self.assertRc(result, 78)
        self.assertIn("198.18.3.1", result.err)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        self.assertNotIn(f"vz{ctid}", run(["ip", "-o", "link"]).out)

    def test_closed_descriptors(self):
        """Files opened by vzctl must not take the places 0 to 2 and then be written to by a message."""
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        for words in (f"create {ctid} --ostemplate {vzhost.busybox_template()} --diskspace 32M", f"start {ctid}",
                      f"set {ctid} --hostname closed.example --save", f"exec {ctid} true", f"restart {ctid}"):
            result = run(["sh", "-c", f"exec {vzhost.BIN}/vzctl {words} <&- >&- 2>&-"])
            self.assertRc(result, 0)
        self.assertEqual(self.inside(ctid, "hostname").strip(), "closed.example")
        self.assertEqual(self.inside(ctid, "ls -l /proc/1/fd | grep -c root.img", check=1).strip(), "0")


class Text(vzhost.HostTest):
    def test_utf8_and_length(self):
        """Any locale gives the same bytes."""
        description = "Grüße — 日本語 😀 'x' # no comment; & | > (y) *"
        ctid = self.create()
        for locale in ("C", "C.UTF-8", "de_DE.UTF-8", "xx_XX"):
            with self.subTest(locale=locale):
                env = {"LC_ALL": locale, "LANG": locale}
                vzctl("set", ctid, "--description", f"{locale} {description}", "--save", check=0, env=env)
                row = vzlist("-a", "-j", ctid, "-o", "description", check=0, env=env).json()[0]
                self.assertEqual(row["description"], f"{locale} {description}")
        shell = run(["sh", "-c", f'. {CONF}/{ctid}.conf; printf %s "$DESCRIPTION"'])
        self.assertEqual(shell.out, f"xx_XX {description}", "the file means the same to a shell")
        cut = vzlist("-a", "-H", "-o", "description", ctid, check=0).out
        self.assertNotIn("\ufffd", cut)

    def test_long_values(self):
        long_name = "n" * 128
        ctid = self.create("--name", long_name, "--description", "d" * 4000)
        self.assertEqual(vzctl("status", long_name, check=0).out.split()[1], str(ctid))
        self.assertEqual(len(vzlist("-a", "-j", "-o", "description", ctid, check=0).json()[0]["description"]), 4000)
        self.assertTrue(all(len(line) < 300 for line in vzlist("-a", "-o", "name,description", ctid).out.splitlines()))
        words = [f"198.18.{i // 250}.{i % 250 + 1}" for i in range(500)]
        many = self.create(*[w for word in words for w in ("--ipadd", word)])
        self.assertEqual(vzlist("-a", "-j", "-o", "ip", many, check=0).json()[0]["ip"], words)

    def test_bytes_that_are_no_text(self):
        ctid = self.create()
        result = run([vzhost.BIN / "vzctl", "set", ctid, "--description", b"\xff\xfe".decode("utf-8", "surrogateescape"), "--save"])
        self.assertIn(result.rc, (0, 21), repr(result))
        (CONF / f"{ctid}.conf").open("ab").write(b'DESCRIPTION="\xc3\x28 \xff\x1b[2J"\n')
        json.loads(vzlist("-a", "-j", ctid, check=0).out)
        self.assertNotIn("\x1b", vzlist("-a", "-o", "description", ctid, check=0).out)


class Configuration(vzhost.HostTest):
    def plant(self, text, ctid=None):
        ctid = ctid or self.create()
        (CONF / f"{ctid}.conf").write_bytes(text if isinstance(text, bytes) else text.encode())
        return ctid

    def test_garbage_is_kept_by_set_and_does_not_stop_destroy(self):
        garbage = b"\x00\x01\x02=\xff\n%%%\nHOSTNAME=\"old\"\nRAM\nX=\"" + b"a" * (1 << 20) + b"\"\n=\n'''\n"
        ctid = self.plant(garbage)
        vzctl("set", ctid, "--hostname", "new", "--save", check=0)
        after = (CONF / f"{ctid}.conf").read_bytes()
        self.assertEqual(after, garbage.replace(b'"old"', b'"new"'))
        self.assertRc(vzctl("destroy", ctid), 0)
        self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted")

    def test_garbage_is_named_with_its_line(self):
        ctid = self.plant('HOSTNAME="ok"\nCPUUNITS="many"\n')
        result = vzctl("start", ctid, check=0)
        self.assertIn(f"{ctid}.conf:2", result.err)
        self.assertIn("CPUUNITS", result.err)

    def test_things_that_are_no_file(self):
        """No hang, no crash, a clear status."""
        makers = {"fifo": os.mkfifo, "directory": os.mkdir, "loop": lambda p: os.symlink(p, p),
                  "dangling": lambda p: os.symlink("/nonexistent/x", p), "device": lambda p: os.symlink("/dev/zero", p)}
        for what, make in makers.items():
            with self.subTest(what=what):
                ctid = self.create()
                path = CONF / f"{ctid}.conf"
                saved = path.read_bytes()
                path.unlink()
                make(str(path))
                for command in (["start", ctid], ["set", ctid, "--hostname", "x", "--save"], ["stop", ctid]):
                    result = vzctl(*command, timeout=20)
                    self.assertTrue(0 < result.rc < 128 or command[0] == "stop", repr(result))
                self.assertRc(vzctl("status", ctid, timeout=20), 0)
                self.assertRc(vzlist("-a", timeout=20), 0)
                os.rmdir(path) if what == "directory" else path.unlink()
                path.write_bytes(saved)
                self.assertRc(vzctl("start", ctid), 0)

    def test_a_huge_file(self):
        ctid = self.plant(b'HOSTNAME="huge"\n' + b"# filler\n" * 2_000_000)
        result = vzctl("status", ctid, timeout=20)
        self.assertRc(result, 0)
        self.assertLess(vzlist("-a", timeout=20).rc, 128)

    def test_vz_conf(self):
        path = pathlib.Path("/etc/vz/vz.conf")
        ctid = self.create()
        saved = path.read_bytes()
        try:
            path.unlink()
            for face in (lambda: vzctl("start", ctid), lambda: vzctl("create", self.new_id())):
                result = face()
                self.assertRc(result, 10)
                self.assertIn("vz.conf", result.err)
            self.assertRc(vzlist("-a"), 1)
            self.assertNotEqual(vzhost.vztmpl("list").rc, 0)
            path.mkdir()
            self.assertRc(vzctl("start", ctid), 10)
            path.rmdir()
            path.write_bytes(b"\x00%%%\n=\nVERBOSE=\"many\"\nVE_PARALLEL=\"-1\"\n" + saved)
            self.assertRc(vzctl("start", ctid), 0)
        finally:
            if path.is_dir():
                path.rmdir()
            path.write_bytes(saved)

    def test_private_area_that_is_none(self):
        """A wrong VE_PRIVATE must never make destroy remove somebody's directory."""
        precious = pathlib.Path(f"/var/lib/vz/precious-{os.getpid()}")
        precious.mkdir()
        (precious / "data").write_text("years of work\n")
        ctid = self.create()
        vzctl("stop", ctid)
        for line in (f'VE_PRIVATE="{precious}"', f'VE_PRIVATE="{precious}/"', 'VE_PRIVATE="relative"', 'VE_PRIVATE="/"'):
            with self.subTest(line=line):
                saved = (CONF / f"{ctid}.conf").read_text()
                (CONF / f"{ctid}.conf").write_text(saved + line + "\n")
                started = vzctl("start", ctid)
                self.assertNotEqual(started.rc, 0, repr(started))
                result = vzctl("destroy", ctid) if line != 'VE_PRIVATE="/"' else started
                self.assertEqual((precious / "data").read_text(), "years of work\n", repr(result))
                if not (CONF / f"{ctid}.conf").exists():
                    (CONF / f"{ctid}.conf.destroyed").rename(CONF / f"{ctid}.conf")
                (CONF / f"{ctid}.conf").write_text(saved)

    def test_sample(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        sample = CONF / "ve-garbage.conf-sample"
        sample.write_bytes(b'\x00\x01\n%%\nCPUUNITS="many"\nDISKSPACE="64M"\nPHYSPAGES="0:16384"\nSWAPPAGES="0:0"\nHOSTNAME="s"\n')
        self.addCleanup(sample.unlink)
        made = vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--config", "garbage", check=0)
        self.assertIn("CPUUNITS", made.err)
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "hostname").strip(), "s")


class Cancel(vzhost.HostTest):
    """Ctrl-C and SIGTERM while a template is unpacked."""

    def begin(self, ctid):
        return subprocess.Popen([vzhost.BIN / "vzctl", "create", str(ctid), "--ostemplate", big_template(), "--diskspace", "2G"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def unpacking(self, ctid):
        def used():
            try:
                return (PRIVATE / f"{ctid}.tmp" / "root.img").stat().st_blocks * 512 > 8 << 20
            except OSError:
                return False
        vzhost.wait_for(used, what="unpacking has begun")

    def nothing_left(self, ctid):
        self.assertEqual(vzctl("status", ctid).out, f"CTID {ctid} deleted unmounted down\n")
        self.assertEqual(traces(ctid), [])
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "32M", check=0)
        vzctl("start", ctid, check=0)

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number):
                ctid = self.new_id()
                self.addCleanup(self.wipe, ctid)
                create = self.begin(ctid)
                self.unpacking(ctid)
                create.send_signal(number)
                _, err = create.communicate(timeout=30)
                self.assertEqual(create.returncode, 48, err)
                self.assertIn("Cancelling...", err)
                self.assertIn("Creation of container private area failed", err)
                self.nothing_left(ctid)

    def test_key(self):
        """Ctrl-C reaches tar and zstd too; the message is still ours."""
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        with Terminal([vzhost.BIN / "vzctl", "create", ctid, "--ostemplate", big_template(), "--diskspace", "2G"]) as tty:
            self.unpacking(ctid)
            tty.type("\x03")
            tty.expect("Cancelling")
            self.assertEqual(tty.wait(), 48, tty.screen)
            self.assertNotIn("Terminated", tty.screen)
        self.nothing_left(ctid)

    def test_twice_ends_at_once_and_the_next_create_repairs(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        create = self.begin(ctid)
        self.unpacking(ctid)
        os.kill(create.pid, signal.SIGSTOP)  # both signals are pending before either is seen
        for number in (signal.SIGINT, signal.SIGTERM):
            create.send_signal(number)
        os.kill(create.pid, signal.SIGCONT)
        create.communicate(timeout=30)
        self.assertIn(create.returncode, (130, 143))
        self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted")
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "32M", check=0)
        self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())
        vzctl("start", ctid, check=0)

    def test_stop_can_be_cancelled(self):
        """An init that does not listen: Ctrl-C gives up waiting, the container runs on."""
        ctid = self.create()
        vzctl("mount", ctid, check=0)
        for path in ("sbin/init", "sbin/halt", "bin/halt"):
            file = pathlib.Path(f"/var/lib/vz/root/{ctid}") / path
            if file.is_symlink() or file.exists():
                file.unlink()
            file.write_text("#!/bin/sh\ntrap '' TERM INT HUP USR1 USR2 PWR\n" + ("" if "halt" in path else "while :; do sleep 1000; done\n"))
            file.chmod(0o755)
        vzctl("umount", ctid, check=0)
        vzctl("start", ctid, check=0)
        stop = subprocess.Popen([vzhost.BIN / "vzctl", "stop", str(ctid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        self.assertIn("Stopping container", stop.stdout.readline())
        stop.send_signal(signal.SIGINT)
        _, err = stop.communicate(timeout=30)
        self.assertNotEqual(stop.returncode, 0)
        self.assertIn("Cancelling...", err)
        self.assertIn("running", self.status(ctid))
        self.assertRc(vzctl("stop", ctid, "--fast"), 0)


class Output(vzhost.HostTest):
    def test_full_and_closed_outputs(self):
        self.create()
        for command in ("vzlist -a", "vzlist -a -j", "vzctl check --json", "vzctl --help"):
            with self.subTest(command=command):
                face, rest = command.split(" ", 1)
                full = run(["sh", "-c", f"{vzhost.BIN}/{face} {rest} > /dev/full"])
                self.assertNotEqual(full.rc, 0, "a lost output is no success")
                self.assertIn("No space left", full.err)
                self.assertRc(run(["sh", "-c", f"{vzhost.BIN}/{face} {rest} >&-"]), full.rc)

    def test_reader_that_leaves(self):
        self.assertIn(run(["bash", "-c", f"{vzhost.BIN}/vzctl completion bash | true; echo ${{PIPESTATUS[0]}}"]).out.strip(),
                      ("0", "141", "148"))

    def test_exec_descriptors(self):
        ctid = self.start()
        sh = f"{vzhost.BIN}/vzctl exec2 {ctid}"
        self.assertEqual(run(["sh", "-c", f"{sh} 'cat; echo done' <&-"]).out, "done\n")
        self.assertRc(run(["sh", "-c", f"{sh} 'exit 3' >&-"]), 3)
        self.assertRc(run(["sh", "-c", f"{sh} 'echo x' > /dev/full"]), 1)
        self.assertRc(run(["sh", "-c", f"{sh} 'exit 4' <&- >&- 2>&-"]), 4)
        early = run(["sh", "-c", f"{sh} 'yes' | head -n 2"], timeout=30)
        self.assertEqual(early.out, "y\ny\n")
        vzhost.wait_for(lambda: "yes" not in self.inside(ctid, "ps | grep -v grep"), what="yes ends with its reader")

    def test_a_flood_on_stderr(self):
        ctid = self.start()
        flood = vzctl("exec2", ctid, "head -c 3000000 /dev/zero | tr '\\0' e >&2; echo out")
        self.assertEqual((len(flood.err), flood.out), (3000000, "out\n"))


if __name__ == "__main__":
    vzhost.main()

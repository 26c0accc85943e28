#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Backups: full and incremental ones of both layouts make the container again, here or under another number; damaged and
hostile files are refused and leave nothing; whoever is killed when, the container and the backups there are stay good.

The kill -9 tests take their steps from a traced run: a new step is tested as soon as it exists.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import run, vzctl, wait_for

PRIVATE = pathlib.Path("/var/lib/vz/private")
BACKUPS = pathlib.Path("/var/lib/vz/backup")

# Everything that a tree can have, as one text: owners, modes, types, sizes, links, contents.
SHOW = r"""cd /data && find . | sort | while read -r f; do
	stat -c '%n %F %a %u:%g %h %Y' "$f" 2>/dev/null
	[ -L "$f" ] && readlink "$f"
	[ -f "$f" ] && [ ! -L "$f" ] && md5sum < "$f"
done; true"""

FILL = r"""mkdir -p /data/dir/deep /data/empty && cd /data
echo one > a; echo two > b; ln b hard; ln -s ../a dir/soft; chown 1000:1001 a; chmod 4711 b
dd if=/dev/urandom of=dir/big bs=1k count=3000 2>/dev/null
dd if=/dev/zero of=sparse bs=1k count=1 seek=9000 2>/dev/null
mkfifo dir/deep/fifo; echo x > 'dir/a b'; touch -d '2001-02-03 04:05:06' dir/old; sync"""

# Removed, renamed, of another type, changed without another size, new.
CHANGE = r"""cd /data; rm a; mv dir/big dir/moved; rm -r empty; echo file > empty; rm dir/old; mkdir dir/old; touch dir/old/x
printf owt > b; mv dir/deep deeper; echo new > new; echo more >> 'dir/a b'; sync"""


class BackupTest(vzhost.HostTest):
    def make(self, layout="image", *options):
        if layout == "image":
            return self.start(*options)
        sample = pathlib.Path("/etc/vz/conf/ve-none.conf-sample")
        sample.write_text("")
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "dir", "--config", "none", *options,
              check=0)
        vzctl("start", ctid, "--force", check=0)
        return ctid

    def wipe(self, ctid):
        super().wipe(ctid)
        shutil.rmtree(BACKUPS / str(ctid), ignore_errors=True)

    def backup(self, ctid, *options, **kw):
        return vzctl("backup", ctid, "--json", *options, check=0, **kw).json()[0]

    def restore(self, which, *options, **kw):
        """Under a new number, started."""
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        vzctl("restore-backup", which, "--ctid", ctid, *options, check=0, **kw)
        vzctl("start", ctid, "--force", check=0)
        return ctid

    def show(self, ctid):
        return self.inside(ctid, SHOW)

    def nothing_of(self, ctid):
        self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted")
        for path in (PRIVATE / str(ctid), PRIVATE / f"{ctid}.tmp", pathlib.Path(f"/etc/vz/conf/{ctid}.conf")):
            self.assertFalse(path.exists(), path)


class Restored(BackupTest):
    def chain(self, layout):
        """A full one and two on it; each makes the container as it was then."""
        ctid = self.make(layout, "--hostname", "h.example", "--name", f"n{os.getpid()}-{layout}")
        self.inside(ctid, FILL)
        shown, made = [self.show(ctid)], [self.backup(ctid)]
        for change in (CHANGE, "cd /data; rm -rf dir; echo last > last; sync"):
            self.inside(ctid, change)
            shown.append(self.show(ctid))
            made.append(self.backup(ctid, "--incremental", "--description", "after a change"))
        self.assertEqual([b["kind"] for b in made], ["full", "incremental", "incremental"])
        self.assertEqual([b["base"] for b in made], [None, made[0]["uuid"], made[1]["uuid"]])
        self.assertLess(made[2]["size"], made[0]["size"] / 2)
        self.assertNotEqual(shown[0], shown[1])
        for backup, then in zip(made, shown):
            with self.subTest(kind=backup["kind"], name=backup["name"]):
                vzctl("backup-verify", backup["name"], check=0)
                result = vzctl("backup-verify", backup["name"], "--json", check=0).json()
                self.assertEqual(result[-1]["name"], backup["name"])
                again = self.restore(backup["name"])
                self.assertEqual(self.show(again), then)
                self.assertEqual(self.inside(again, "hostname").strip(), "h.example")
                vzctl("stop", again, "--fast", check=0)
                vzctl("destroy", again, check=0)
        self.assertIn("running", self.status(ctid))
        listed = vzctl("backup-list", ctid, "--json", check=0).json()
        self.assertEqual([b["name"] for b in listed], [b["name"] for b in made])
        self.assertEqual({b["problem"] for b in listed}, {None})
        return ctid, made

    def test_image(self):
        ctid, made = self.chain("image")
        checked = run(["e2fsck", "-f", "-n", PRIVATE / str(ctid) / "root.img"])
        self.assertIn("--", "--" + checked.out)  # it runs: only that nothing was broken below it is known at its stop
        # What another builds on is not deleted.
        result = vzctl("backup-delete", made[0]["name"])
        self.assertRc(result, 174)
        self.assertIn(made[1]["name"], result.err)
        for backup in reversed(made):
            vzctl("backup-delete", backup["name"], check=0)
        self.assertEqual(list((BACKUPS / str(ctid)).iterdir()), [])

    def test_directory(self):
        self.chain("dir")

    def test_directories_that_come_and_go(self):
        """Names change hands between files and directories, and inodes between directories: tar must not take one for
        another."""
        pick = random.Random(7)
        ctid = self.make("dir")
        self.inside(ctid, FILL)
        last = self.backup(ctid)
        for _ in range(6):
            lines = ["cd /data"]
            for _ in range(40):
                a, b = (f"{pick.choice('abcdef')}{pick.choice(['', '/x', '/x/y'])}" for _ in range(2))
                lines.append(pick.choice([f"rm -rf {a}", f"mkdir -p {a}", f"mv {a} {b}", f"rm -rf {a}; echo {pick.random()} > {a}",
                                          f"ln {a} {b}", f"rm -rf {a}; mkdir {a}", f"chmod 7{pick.randrange(8)}5 {a}"]))
            self.inside(ctid, "; ".join(f"{{ {line}; }} 2>/dev/null" for line in lines) + "; sync")
            last = self.backup(ctid, "--incremental")
        then = self.show(ctid)
        self.assertGreater(then.count("\n"), 10)
        self.assertEqual(self.show(self.restore(last["name"])), then)

    def test_as_the_readme_says(self):
        """Its commands for 101 and 102, as they are typed there."""
        section = (vzhost.SOURCE / "README.md").read_text().split("## Snapshots and backups", 1)[1]
        commands = section.split("```sh\n", 1)[1].split("```", 1)[0]
        ctid, other = self.make(), self.new_id()
        self.addCleanup(self.wipe, other)
        self.inside(ctid, FILL)
        self.assertEqual(set(re.findall(r"\b\d+\b", commands)), {"101", "2", "102"})
        commands = re.sub(r"\b10[12]\b", lambda found: str({"101": ctid, "102": other}[found[0]]), commands)
        script = f'export PATH="{vzhost.BIN}:$PATH"\n' + commands
        run(["bash", "-euo", "pipefail", "-c", script], check=0)
        vzctl("start", other, check=0)
        self.assertEqual(self.show(other), self.show(ctid))

    def test_the_same_number_after_a_loss(self):
        ctid = self.make("image", "--ipadd", "198.18.10.1", "--hostname", "h.example")
        self.inside(ctid, FILL)
        then = self.show(ctid)
        name = self.backup(ctid)["name"]
        vzctl("stop", ctid, "--fast", check=0)
        config = pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()
        vzctl("destroy", ctid, check=0)
        vzctl("restore-backup", name, check=0)
        again = pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()
        self.assertEqual(re.search("IP_ADDRESS.*", again)[0], re.search("IP_ADDRESS.*", config)[0])
        vzctl("start", ctid, check=0)
        self.assertEqual(self.show(ctid), then)

    def test_from_a_file_elsewhere(self):
        """Another directory, as if brought from another host: what it asks for beyond a plain container is left out."""
        ctid = self.make("image", "--capability", "sys_time:on", "--ipadd", "198.18.10.2", "--name", f"taken-{os.getpid()}")
        vzctl("set", ctid, "--netif_add", "eth0", "--save", check=0)
        place = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, place)
        vzctl("backup", ctid, "--output", place / "x.vzb", check=0)
        self.assertRc(vzctl("backup", ctid, "--output", place / "x.vzb"), 21)
        other = self.new_id()
        self.addCleanup(self.wipe, other)
        result = vzctl("restore-backup", place / "x.vzb", "--ctid", other, check=0)
        for part in ("CAPABILITY", "198.18.10.2", f"taken-{os.getpid()}"):
            self.assertIn(part, result.err)
        config = pathlib.Path(f"/etc/vz/conf/{other}.conf").read_text()
        self.assertNotIn("CAPABILITY", config)
        self.assertNotIn("198.18.10.2", config)
        self.assertNotIn("taken", config)
        def mac(number):
            return re.search(r"mac=([0-9A-Fa-f:]+)", pathlib.Path(f"/etc/vz/conf/{number}.conf").read_text())[1]
        self.assertNotEqual(mac(ctid), mac(other))
        vzctl("start", other, check=0)
        forced = self.new_id()
        self.addCleanup(self.wipe, forced)
        vzctl("restore-backup", place / "x.vzb", "--ctid", forced, "--force", "--name", f"f{os.getpid()}", check=0)
        self.assertIn("CAPABILITY", pathlib.Path(f"/etc/vz/conf/{forced}.conf").read_text())
        self.assertRc(vzctl("status", f"f{os.getpid()}"), 0)

    def test_in_place_of_what_is_there(self):
        ctid = self.make("image", "--hostname", "then.example")
        self.inside(ctid, FILL)
        then = self.show(ctid)
        name = self.backup(ctid)["name"]
        self.inside(ctid, CHANGE)
        vzctl("set", ctid, "--hostname", "now.example", "--save", check=0)
        self.assertRc(vzctl("restore-backup", name, "--replace"), 32)
        vzctl("stop", ctid, "--fast", check=0)
        self.assertRc(vzctl("restore-backup", name), 44)
        vzctl("snapshot", ctid, check=0)
        self.assertRc(vzctl("restore-backup", name, "--replace"), 44)
        uuid = vzctl("snapshot-list", ctid, "--json", check=0).json()[0]["uuid"]
        vzctl("snapshot-delete", ctid, "--id", uuid, check=0)
        vzctl("restore-backup", name, "--replace", check=0)
        vzctl("start", ctid, check=0)
        self.assertEqual(self.show(ctid), then)
        self.assertEqual(self.inside(ctid, "hostname").strip(), "then.example")
        self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())

    def test_while_it_writes(self):
        """Files that are written in an order are in the backup in that order, in both layouts."""
        for layout in ("image", "dir"):
            with self.subTest(layout=layout):
                ctid = self.make(layout)
                # b is never ahead of a: whoever sees the files at one moment sees that.
                writer = subprocess.Popen([vzhost.BIN / "vzctl", "exec2", str(ctid),
                                           "mkdir -p /w; i=0; while :; do i=$((i+1)); for d in 1 2 3 4; do "
                                           "echo $i > /w/a$d.new; mv /w/a$d.new /w/a$d; done; echo $i > /w/b.new; "
                                           "mv /w/b.new /w/b; done"],
                                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.addCleanup(writer.wait)
                self.addCleanup(writer.kill)
                wait_for(lambda: vzctl("exec2", ctid, "test -s /w/b").rc == 0, what="the writer")
                names = [self.backup(ctid)["name"], self.backup(ctid, "--incremental")["name"]]
                self.assertIsNone(writer.poll())
                writer.kill()
                for name in names:
                    again = self.restore(name)
                    text = self.inside(again, "cat /w/b /w/a1 /w/a2 /w/a3 /w/a4").split()
                    numbers = [int(n) for n in text]
                    self.assertEqual(len(numbers), 5, text)
                    self.assertTrue(all(numbers[0] <= n <= numbers[0] + 1 for n in numbers[1:]), numbers)
                    self.assertEqual(sorted(numbers[1:], reverse=True), numbers[1:])


class Refused(BackupTest):
    def test_without_anything_to_build_on(self):
        ctid = self.create()
        result = vzctl("backup", ctid, "--incremental")
        self.assertRc(result, 174)
        self.assertIn("without --incremental", result.err)

    def test_damaged_files(self):
        """Cut, changed, something else, a hole in the chain: refused, told apart, and nothing is left."""
        ctid = self.create()
        full = self.backup(ctid)
        second = self.backup(ctid, "--incremental")
        place = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, place)
        whole = pathlib.Path(full["path"]).read_bytes()
        bad = place / "bad.vzb"
        middle = len(whole) // 2
        for what, data in (("empty", b""), ("text", b"hello\n" * 1000), ("cut", whole[:middle]),
                           ("cut at the end", whole[:-1]), ("longer", whole + b"\0"),
                           ("a bit", whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:]),
                           ("zeroes", whole[:middle] + bytes(4096) + whole[middle + 4096:])):
            with self.subTest(what=what):
                bad.write_bytes(data)
                other = self.new_id()
                result = vzctl("restore-backup", bad, "--ctid", other)
                self.assertRc(result, 174)
                self.assertIn(str(bad), result.err)
                self.nothing_of(other)
                self.assertRc(vzctl("backup-verify", bad), 174)
        bad.unlink()  # it says that it is the full one
        shutil.copy(second["path"], place / "second.vzb")
        result = vzctl("restore-backup", place / "second.vzb", "--ctid", self.new_id())
        self.assertRc(result, 174)
        self.assertIn(full["uuid"], result.err)
        for path in ("/dev/null", "/etc", place):
            self.assertRc(vzctl("restore-backup", f"{path}/" if path == "/etc" else path), 174)

    def test_a_hostile_image_is_checked_before_it_is_mounted(self):
        """A file system that lies about itself, in a file whose checksums are right."""
        ctid = self.create()
        image = PRIVATE / str(ctid) / "root.img"
        with open(image, "r+b") as f:
            f.seek(1024)
            f.write(os.urandom(1024))
        name = self.backup(ctid)["name"]
        other = self.new_id()
        self.assertRc(vzctl("restore-backup", name, "--ctid", other), 152)
        self.nothing_of(other)

    def test_space(self):
        ctid = self.make("image")
        first = self.backup(ctid)
        vzctl("set", ctid, "--backup-space", f"{(first['size'] >> 10) + 200}K", "--save", check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/noise bs=1k count=2000 2>/dev/null; sync")
        result = vzctl("backup", ctid)
        self.assertRc(result, 46)
        self.assertIn("--backup-space", result.err)
        self.assertEqual([p.name for p in (BACKUPS / str(ctid)).iterdir()], [first["name"] + ".vzb"])
        vzctl("backup-delete", first["name"], check=0)
        vzctl("set", ctid, "--backup-space", "50M", "--save", check=0)
        self.backup(ctid)

    def test_wrong_names(self):
        for args, status in ((["restore-backup", "101-none"], 174), (["restore-backup", "../../x"], 174),
                             (["restore-backup", ""], 174), (["backup-delete", "/etc/hostname"], 174),
                             (["backup-verify", "nothing"], 174)):
            with self.subTest(args=args):
                self.assertRc(vzctl(*args), status)
        self.assertTrue(pathlib.Path("/etc/hostname").exists())

    def test_others_cannot_read_them(self):
        ctid = self.create()
        path = pathlib.Path(self.backup(ctid)["path"])
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)


class KillAtEveryStep(BackupTest):
    def kill_at(self, step, *args):
        result = vzctl(*args, env={"VZ_FAULT": step})
        self.assertEqual(result.rc, -signal.SIGKILL, f"{step}: the step was not reached\n{result}")

    def test_backup(self):
        for layout in ("image", "dir"):
            ctid = self.make(layout)
            self.backup(ctid)
            steps = vzhost.traced("backup", ctid, "--incremental")
            self.assertIn("backup.frozen:1", steps)
            for step in vzhost.some_steps(steps):
                with self.subTest(layout=layout, step=step):
                    known = {b["name"] for b in vzctl("backup-list", ctid, "--json", check=0).json()}
                    self.kill_at(step, "backup", ctid, "--incremental")
                    self.inside(ctid, "echo alive > /alive; sync", timeout=60)
                    listed = vzctl("backup-list", ctid, "--json", check=0).json()
                    self.assertEqual({b["problem"] for b in listed}, {None})
                    self.assertLessEqual(known, {b["name"] for b in listed})
                    last = self.backup(ctid, "--incremental")
                    vzctl("backup-verify", last["name"], check=0)
                    files = {p.name for p in (BACKUPS / str(ctid)).iterdir()}
                    self.assertEqual([f for f in files if not f.endswith(".vzb")], [])

    def test_restore(self):
        for layout in ("image", "dir"):
            source = self.make(layout)
            self.inside(source, FILL)
            then = self.show(source)
            name = self.backup(source)["name"]
            probe = self.new_id()
            self.addCleanup(self.wipe, probe)
            steps = vzhost.traced("restore-backup", name, "--ctid", probe)
            self.assertIn("restore-backup.rename:1", steps)
            for step in vzhost.some_steps(steps):
                with self.subTest(layout=layout, step=step):
                    ctid = self.new_id()
                    self.addCleanup(self.wipe, ctid)
                    self.kill_at(step, "restore-backup", name, "--ctid", ctid)
                    again = vzctl("restore-backup", name, "--ctid", ctid)
                    if again.rc != 0:  # the killed one had got as far as a container, or as its configuration
                        self.assertRc(again, 44)
                        again = vzctl("restore-backup", name, "--ctid", ctid, "--replace")
                    self.assertRc(again, 0)
                    vzctl("start", ctid, "--force", check=0)
                    self.assertEqual(self.show(ctid), then)
                    self.wipe(ctid)

    def test_replace(self):
        """It is what it was, with its configuration, or what was backed up, with the other."""
        ctid = self.make("image", "--hostname", "then.example")
        self.inside(ctid, "echo then > /state; sync")
        name = self.backup(ctid)["name"]

        def prepare():
            vzctl("start", ctid)
            self.inside(ctid, "echo now > /state; sync")
            vzctl("set", ctid, "--hostname", "now.example", "--save", check=0)
            vzctl("stop", ctid, "--fast", check=0)
        prepare()
        steps = vzhost.traced("restore-backup", name, "--replace")
        seen = set()
        for step in vzhost.ends_and_some_steps(steps):
            with self.subTest(step=step):
                prepare()
                self.kill_at(step, "restore-backup", name, "--replace")
                vzctl("start", ctid, check=0)
                state, host = self.inside(ctid, "cat /state; hostname").split()
                self.assertEqual(host, f"{state}.example")
                seen.add(state)
                vzctl("stop", ctid, "--fast", check=0)
        self.assertEqual(seen, {"then", "now"})


class Monitor(vzhost.HostTest):
    def test_start_and_stop(self):
        ctid = self.create()
        watch = subprocess.Popen([vzhost.BIN / "vzctl", "monitor", "--json", "--interval", "0.2"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(watch.stderr.close)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)

        def until(what):
            for line in watch.stdout:
                event = json.loads(line)
                if (event["ctid"], event["event"]) == (ctid, what):
                    return event
            self.fail(f"monitor ended: {watch.stderr.read()}")
        # It looks at what runs when it begins: until then a start is no event.
        wait_for(lambda: any("eventpoll" in path for path, _ in vzhost.descriptors(watch.pid)), what="monitor waits")
        vzctl("start", ctid, check=0)
        self.assertEqual(until("started")["text"], "started")
        vzctl("stop", ctid, "--fast", check=0)
        until("stopped")
        self.assertRc(vzctl("monitor", "--interval", "soon"), 21)


if __name__ == "__main__":
    vzhost.main()

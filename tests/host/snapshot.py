#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots: disk, configuration and processes come back as they were; whoever is killed when, the container is either
what it was or what the snapshot was, and what is there next time has no rubbish in it.

The kill -9 tests take their steps from a traced run: a new step is tested as soon as it exists.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import run, vzctl, wait_for

PRIVATE = pathlib.Path("/var/lib/vz/private")

# A number that exists in memory only; told, and raised, on demand.
COUNTER = r"""#!/bin/sh
exec </dev/null >/dev/null 2>&1
n=0
tell() { n=$((n + 1)); echo $n > /tmp/n; mv /tmp/n /tmp/n.done; }
trap tell USR1
while :; do sleep 0.1; done
"""


def store(ctid):
    return PRIVATE / str(ctid) / "snapshots"


def snapshots(ctid):
    return vzctl("snapshot-list", ctid, "--json", check=0).json()


class SnapshotTest(vzhost.HostTest):
    def take(self, ctid, *options, **kw):
        """The new snapshot's UUID."""
        out = vzctl("snapshot", ctid, *options, check=0, **kw).out
        return re.search(r"Snapshot \{([-0-9a-f]{36})\} has been successfully created", out)[1]

    def switch(self, ctid, uuid, *options, **kw):
        return vzctl("snapshot-switch", ctid, "--id", uuid, *options, check=0, **kw)

    def check_clean(self, ctid, known):
        """Nothing is there but what the list has, and every disk is whole."""
        self.assertEqual({s["uuid"] for s in snapshots(ctid)}, set(known))
        there = {p.name for p in store(ctid).iterdir()} - {"tree.json"} if store(ctid).exists() else set()
        self.assertEqual(there, set(known))
        for uuid in known:
            checked = run(["e2fsck", "-f", "-n", store(ctid) / uuid / "root.img"])
            self.assertEqual(checked.rc, 0, repr(checked))

    def worker(self, *options):
        vzhost.need("criu")
        ctid = self.start(*options)
        vzctl("exec", ctid, "cat > /root/work; chmod 755 /root/work", stdin=COUNTER, check=0)
        vzctl("exec", ctid, "setsid /root/work & echo $! > /tmp/pid", check=0)
        self.inside(ctid, "rm -f /tmp/n.done")
        self.assertEqual(self.tell(ctid), 1)
        return ctid

    def tell(self, ctid):
        """The number in the worker's memory, which is one more each time."""
        self.inside(ctid, "rm -f /tmp/n.done; kill -USR1 $(cat /tmp/pid)")
        wait_for(lambda: vzctl("exec2", ctid, "test -e /tmp/n.done").rc == 0, what="the worker's number")
        return int(self.inside(ctid, "cat /tmp/n.done"))


class Disk(SnapshotTest):
    def test_files_and_configuration_come_back(self):
        ctid = self.start("--hostname", "then.example")
        self.inside(ctid, "echo then > /kept; echo then > /changed; echo then > /removed")
        uuid = self.take(ctid, "--skip-suspend", "--name", "first")
        self.assertIn("running", self.status(ctid))
        self.inside(ctid, "echo now > /changed; rm /removed; echo now > /added; sync")
        vzctl("set", ctid, "--hostname", "now.example", "--save", check=0)
        out = self.switch(ctid, "{" + uuid + "}").out
        self.assertIn(f"Switching to snapshot {{{uuid}}}", out)
        self.assertIn("Container has been successfully switched to another snapshot", out)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "cat /kept /changed /removed; hostname; ls /added 2>&1 | grep -c No").split(),
                         ["then", "then", "then", "then.example", "1"])
        self.check_clean(ctid, [uuid])

    def test_skip_config(self):
        ctid = self.create("--hostname", "then.example", diskspace="48M")
        uuid = self.take(ctid)
        vzctl("set", ctid, "--hostname", "now.example", "--diskspace", "80M", "--save", check=0)
        self.switch(ctid, uuid, "--skip-config")
        config = pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()
        self.assertIn('HOSTNAME="now.example"', config)
        self.assertIn('DISKSPACE="48M:48M"', config.replace("49152:49152", "48M:48M"))  # the disk is that of then
        vzctl("start", ctid, check=0)

    def test_a_stopped_container_and_many_returns(self):
        ctid = self.create()
        uuids = []
        for i in range(3):
            vzctl("start", ctid, check=0)
            self.inside(ctid, f"echo {i} > /state")
            vzctl("stop", ctid, "--fast", check=0)
            uuids.append(self.take(ctid, "--name", f"s{i}"))
        for i in (0, 2, 1, 1):
            self.switch(ctid, uuids[i])
            vzctl("start", ctid, check=0)
            self.assertEqual(self.inside(ctid, "cat /state").strip(), str(i))
            self.assertEqual([s["uuid"] for s in snapshots(ctid) if s["current"]], [uuids[i]])
        self.check_clean(ctid, uuids)

    def test_while_it_writes(self):
        """The disk of a snapshot is whole, and has what was synced before, however busy the container is."""
        ctid = self.start()
        self.inside(ctid, "echo synced > /synced; sync")
        writer = subprocess.Popen([vzhost.BIN / "vzctl", "exec2", str(ctid),
                                   "i=0; while :; do i=$((i+1)); dd if=/dev/urandom of=/w$((i%8)) bs=64k count=20 2>/dev/null;"
                                   " mv /w$((i%8)) /v$((i%8)); [ $((i%5)) = 0 ] && rm -f /v*; done"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        uuids = [self.take(ctid, "--skip-suspend") for _ in range(4)]
        self.assertIsNone(writer.poll())
        self.check_clean(ctid, uuids)
        self.switch(ctid, uuids[1])
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "cat /synced").strip(), "synced")

    def test_switch_ends_what_runs(self):
        ctid = self.create()
        uuid = self.take(ctid)
        vzctl("start", ctid, check=0)
        self.inside(ctid, "echo x > /later; sync")
        self.switch(ctid, uuid)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        vzctl("start", ctid, check=0)
        self.assertNotEqual(vzctl("exec2", ctid, "test -e /later").rc, 0)

    def test_resize_and_compact(self):
        ctid = self.create(diskspace="48M")
        small = self.take(ctid)
        vzctl("set", ctid, "--diskspace", "96M", "--save", check=0)
        large = self.take(ctid)
        vzctl("compact", ctid, check=0)
        for uuid, mib in ((small, 48), (large, 96)):
            self.switch(ctid, uuid)
            self.assertEqual(os.stat(PRIVATE / str(ctid) / "root.img").st_size, mib << 20)
            limit = re.search(r'DISKSPACE="([^"]*)"', pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text())[1]
            self.assertIn(limit, (f"{mib}M:{mib}M", f"{mib << 10}:{mib << 10}"))
        self.check_clean(ctid, [small, large])


class Listing(SnapshotTest):
    def test_columns(self):
        ctid = self.create()
        one = self.take(ctid, "--name", "one", "--description", "before it all")
        two = self.take(ctid, "--name", "two")
        lines = vzctl("snapshot-list", ctid, check=0).out.splitlines()
        self.assertEqual(lines[0].split(), ["PARENT_UUID", "C", "UUID", "DATE", "NAME"])
        self.assertEqual(lines[1].split()[0], "{%s}" % one)
        self.assertRegex(lines[2], r"^\{%s\} \* \{%s\} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d two$" % (one, two))
        self.assertEqual(vzctl("snapshot-list", ctid, "-H", "-o", "uuid,desc", "--id", one, check=0).out.split(None, 1),
                         ["{%s}" % one, "before it all\n"])
        listed = snapshots(ctid)
        self.assertEqual([(s["name"], s["parent_uuid"], s["current"], s["memory"], s["config"]) for s in listed],
                         [("one", None, False, False, True), ("two", one, True, False, True)])
        self.assertGreater(listed[0]["size"], 0)

    def test_delete(self):
        ctid = self.create()
        one, two, three = (self.take(ctid) for _ in range(3))
        out = vzctl("snapshot-delete", ctid, "--id", two, check=0).out
        self.assertIn(f"Deleting snapshot {{{two}}}", out)
        self.assertIn(f"Snapshot {{{two}}} has been successfully deleted", out)
        self.assertEqual([(s["uuid"], s["parent_uuid"]) for s in snapshots(ctid)], [(one, None), (three, one)])
        self.check_clean(ctid, [one, three])
        self.switch(ctid, three)

    def test_mount(self):
        ctid = self.start()
        self.inside(ctid, "echo then > /file; sync")
        uuid = self.take(ctid, "--skip-suspend")
        self.inside(ctid, "echo now > /file; sync")
        target = pathlib.Path(f"/run/vz/snapshot-{ctid}")
        target.mkdir()
        self.addCleanup(run, ["umount", "-l", target])
        vzctl("snapshot-mount", ctid, "--id", uuid, "--target", target, check=0)
        self.assertEqual((target / "file").read_text(), "then\n")
        with self.assertRaises(OSError):
            (target / "file").write_text("x")
        self.assertEqual(snapshots(ctid)[0]["target"], str(target))
        self.assertRc(vzctl("snapshot-mount", ctid, "--id", uuid, "--target", target), 160)
        self.assertRc(vzctl("snapshot-delete", ctid, "--id", uuid), 158)
        vzctl("stop", ctid, "--fast", check=0)
        self.assertRc(vzctl("destroy", ctid), 41)
        vzctl("snapshot-umount", ctid, "--id", uuid, check=0)
        self.assertFalse(os.path.ismount(target))
        self.assertRc(vzctl("snapshot-umount", ctid, "--id", uuid), 161)
        vzctl("snapshot-delete", ctid, "--id", uuid, check=0)


class Refused(SnapshotTest):
    def test_bad_requests(self):
        ctid = self.create()
        uuid = self.take(ctid)
        other = "00000000-0000-4000-8000-000000000000"
        for args, status, text in (
                (["snapshot", ctid, "--id", uuid], 156, "exists already"),
                (["snapshot", ctid, "--id", "../../x"], 21, "is no UUID"),
                (["snapshot", ctid, "--name", 'a"b'], 21, "Bad value for --name"),
                (["snapshot", ctid, "--name", "a\nb"], 21, "Bad value for --name"),
                (["snapshot-switch", ctid, "--id", other], 159, "there is no snapshot"),
                (["snapshot-delete", ctid, "--id", other], 158, "there is no snapshot"),
                (["snapshot-mount", ctid, "--id", other, "--target", "/mnt"], 160, "there is no snapshot"),
                (["snapshot-mount", ctid, "--id", uuid, "--target", "/nonexistent"], 160, "/nonexistent"),
                (["snapshot-umount", ctid, "--id", uuid], 161, "is not mounted"),
                (["snapshot-switch", ctid, "--id", uuid, "--must-resume"], 159, "without the processes"),
                (["migrate", ctid, "nowhere", "--transport", "false"], 172, "has snapshots"),
                (["convert", ctid, "--layout", "dir"], 155, "has snapshots")):
            with self.subTest(args=args):
                result = vzctl(*args)
                self.assertRc(result, status)
                self.assertIn(text, result.err)
        self.check_clean(ctid, [uuid])

    def test_a_directory_has_none(self):
        sample = pathlib.Path("/etc/vz/conf/ve-none.conf-sample")
        sample.write_text("")
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "dir", "--config", "none", check=0)
        result = vzctl("snapshot", ctid)
        self.assertRc(result, 156)
        self.assertIn("vzctl backup", result.err)

    def test_a_full_disk(self):
        """Nothing is left of the attempt, and the container runs."""
        space = pathlib.Path(f"/var/lib/vz/small-{os.getpid()}")
        space.mkdir()
        run(["truncate", "-s", "40M", f"{space}.img"], check=0)
        run(["mkfs.ext4", "-q", "-m", "0", f"{space}.img"], check=0)
        run(["mount", "-o", "loop", f"{space}.img", space], check=0)
        self.addCleanup(run, ["umount", "-l", space])
        ctid = self.start("--private", f"{space}/$VEID", diskspace="32M")
        self.inside(ctid, "dd if=/dev/urandom of=/fill bs=1M count=14 2>/dev/null; sync")
        result = vzctl("snapshot", ctid, "--skip-suspend")
        self.assertRc(result, 46)
        self.assertIn("MiB are free", result.err)
        self.assertEqual(list((space / str(ctid) / "snapshots").glob("*.tmp")), [])
        self.inside(ctid, "echo x > /y; sync")
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("destroy", ctid, check=0)

    def test_a_damaged_list_keeps_nobody_from_working(self):
        ctid = self.create()
        uuid = self.take(ctid)
        (store(ctid) / "tree.json").write_text("{")
        self.assertRc(vzctl("snapshot-list", ctid), 167)
        result = vzctl("start", ctid, check=0)
        self.assertIn("Warning", result.err + result.out)
        self.assertRc(vzctl("snapshot", ctid, "--skip-suspend"), 167)
        self.assertTrue((store(ctid) / uuid / "root.img").exists())
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("destroy", ctid, check=0)
        self.assertFalse(store(ctid).exists())

    def test_destroy_removes_them(self):
        ctid = self.create()
        self.take(ctid)
        vzctl("destroy", ctid, check=0)
        self.assertFalse((PRIVATE / str(ctid)).exists())
        self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())


class Names(SnapshotTest):
    def test_a_name_comes_back_unless_it_is_taken(self):
        name, later = f"then-{os.getpid()}", f"now-{os.getpid()}"
        ctid = self.create("--name", name)
        uuid = self.take(ctid)
        vzctl("set", ctid, "--name", later, "--save", check=0)
        self.switch(ctid, uuid)
        self.assertRc(vzctl("status", name), 0)
        self.assertRc(vzctl("status", later), 21)
        vzctl("set", ctid, "--name", later, "--save", check=0)
        other = self.create("--name", name)
        self.assertIn("Warning", self.switch(ctid, uuid).err)
        self.assertIn(str(other), vzctl("status", name, check=0).out)
        self.assertIn(str(ctid), vzctl("status", later, check=0).out)


class Memory(SnapshotTest):
    def test_processes_come_back(self):
        ctid = self.worker("--ipadd", "198.18.9.1")
        self.assertEqual(self.tell(ctid), 2)
        out = vzctl("snapshot", ctid, check=0).out
        for line in ("Creating snapshot", "\tsuspend...", "\tdump...", "\tresume...", "has been successfully created"):
            self.assertIn(line, out)
        [snapshot] = snapshots(ctid)
        self.assertTrue(snapshot["memory"])
        self.assertEqual(self.tell(ctid), 3)  # it goes on
        self.assertEqual(self.tell(ctid), 4)
        self.inside(ctid, "echo now > /later; sync")
        for _ in range(2):  # a snapshot can be used again
            self.switch(ctid, snapshot["uuid"], "--must-resume")
            self.assertIn("running", self.status(ctid))
            self.assertEqual(self.tell(ctid), 3)
            self.assertNotEqual(vzctl("exec2", ctid, "test -e /later").rc, 0)
        self.check_clean(ctid, [snapshot["uuid"]])
        self.assertEqual(run(["losetup", "-j", PRIVATE / str(ctid) / "root.img"]).out.count("\n"), 1)

    def test_skip_resume(self):
        ctid = self.worker()
        uuid = self.take(ctid)
        self.switch(ctid, uuid, "--skip-resume")
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        vzctl("start", ctid, check=0)
        self.switch(ctid, uuid)
        self.assertEqual(self.tell(ctid), 2)

    def test_what_cannot_be_saved_is_named(self):
        ctid = self.start("--features", "nesting:on")
        result = vzctl("snapshot", ctid)
        if result.rc == 0:
            self.skipTest("nesting alone is no obstacle")
        self.assertRc(result, 16)
        self.assertIn("--skip-suspend", result.err)
        self.assertIn("running", self.status(ctid))
        self.check_clean(ctid, [])
        self.take(ctid, "--skip-suspend")


class KillAtEveryStep(SnapshotTest):
    def kill_at(self, step, *args):
        """False: it was not reached, because the usage record is written again only if something was used."""
        result = vzctl(*args, env={"VZ_FAULT": step})
        if result.rc == 0 and re.fullmatch(r"usage\.\w+:\d+", step):
            return False
        self.assertEqual(result.rc, -signal.SIGKILL, f"{step}: the step was not reached\n{result}")
        return True

    def each_step(self, steps, *args, prepare=lambda: None, check):
        self.assertGreaterEqual(len(steps), 3, steps)
        for step in vzhost.ends_and_some_steps(steps):
            with self.subTest(step=step):
                prepare()
                if self.kill_at(step, *args):
                    check(step)

    def test_snapshot_of_a_running_container(self):
        """It runs on by itself or with the next call; the disk it writes to is never left frozen."""
        ctid = self.start()
        self.take(ctid, "--skip-suspend")
        probe = vzhost.traced("snapshot", ctid, "--skip-suspend")
        self.assertIn("snapshot.thaw:1", probe)

        def check(step):
            known = [s["uuid"] for s in snapshots(ctid)]
            self.inside(ctid, "echo alive > /alive; sync", timeout=60)
            uuid = self.take(ctid, "--skip-suspend")
            self.check_clean(ctid, [*known, uuid])
            for s in snapshots(ctid)[1:]:
                vzctl("snapshot-delete", ctid, "--id", s["uuid"], check=0)
        self.each_step(probe, "snapshot", ctid, "--skip-suspend", check=check)

    def test_snapshot_with_memory(self):
        ctid = self.worker()
        self.take(ctid)
        count = self.tell(ctid)
        steps = vzhost.traced("snapshot", ctid)
        self.assertIn("suspend.commit:1", steps)
        if os.environ.get("VZ_TEST_ALL_STEPS") != "1":
            steps = [s for s in steps if s.startswith("snapshot.")] + steps[1::4]

        def check(step):
            nonlocal count
            known = [s["uuid"] for s in snapshots(ctid)]
            self.assertEqual(self.tell(ctid), count + 1, step)
            count += 1
            uuid = self.take(ctid, "--skip-suspend")
            self.check_clean(ctid, [*known, uuid])
            for s in snapshots(ctid)[1:]:
                vzctl("snapshot-delete", ctid, "--id", s["uuid"], check=0)
        self.each_step(steps, "snapshot", ctid, check=check)

    def test_switch(self):
        """Before the commit it is what it was, afterwards what the snapshot was; nothing in between."""
        ctid = self.create("--hostname", "then.example")
        vzctl("start", ctid, check=0)
        self.inside(ctid, "echo then > /state; sync")
        vzctl("stop", ctid, "--fast", check=0)
        uuid = self.take(ctid)

        def prepare():
            vzctl("start", ctid, check=0)
            self.inside(ctid, "echo now > /state; sync")
            vzctl("set", ctid, "--hostname", "now.example", "--save", check=0)
        prepare()
        steps = vzhost.traced("snapshot-switch", ctid, "--id", uuid)
        self.assertIn("snapshot.switch.commit:1", steps)
        seen = set()

        def check(step):
            self.assertRc(vzctl("status", ctid), 0)
            self.assertIn(vzctl("start", ctid).rc, (0, 32), step)
            state, host = self.inside(ctid, "cat /state; hostname").split()
            self.assertEqual(host, f"{state}.example", step)
            committed = steps.index(step) > steps.index("snapshot.switch.commit:1")
            self.assertEqual(state, "then" if committed else "now", step)
            seen.add(state)
            vzctl("stop", ctid, "--fast", check=0)
            self.check_clean(ctid, [uuid])
        self.each_step(steps, "snapshot-switch", ctid, "--id", uuid, prepare=prepare, check=check)
        self.assertEqual(seen, {"then", "now"})

    def test_switch_with_memory(self):
        ctid = self.worker()
        uuid = self.take(ctid)
        self.assertEqual(self.tell(ctid), 2)
        steps = vzhost.traced("snapshot-switch", ctid, "--id", uuid)
        at = steps.index("snapshot.switch.resume:1")
        self.assertGreater(len(steps), at + 3)
        chosen = steps[at:] if os.environ.get("VZ_TEST_ALL_STEPS") == "1" else [steps[at], *steps[at + 1::4]]

        def check(step):
            self.assertRc(vzctl("status", ctid), 0)
            self.switch(ctid, uuid, "--must-resume")
            self.assertEqual(self.tell(ctid), 2, step)
            self.check_clean(ctid, [uuid])
        self.each_step(chosen, "snapshot-switch", ctid, "--id", uuid, check=check)

    def test_delete(self):
        ctid = self.create()
        keep = self.take(ctid)
        steps = vzhost.traced("snapshot-delete", ctid, "--id", self.take(ctid))
        for step in vzhost.some_steps(steps):
            with self.subTest(step=step):
                uuid = self.take(ctid)
                self.kill_at(step, "snapshot-delete", ctid, "--id", uuid)
                vzctl("snapshot-delete", ctid, "--id", uuid)
                vzctl("start", ctid, check=0)
                vzctl("stop", ctid, "--fast", check=0)
                self.check_clean(ctid, [keep])


class SharedBlocks(SnapshotTest):
    """Private areas on a file system with reflinks."""

    def setUp(self):
        if not shutil.which("mkfs.xfs") or "\txfs\n" not in pathlib.Path("/proc/filesystems").read_text():
            raise unittest.SkipTest("no XFS here (xfsprogs, kernel)")
        self.space = pathlib.Path(f"/var/lib/vz/xfs-{os.getpid()}")
        self.space.mkdir()
        run(["truncate", "-s", "400M", f"{self.space}.img"], check=0)
        run(["mkfs.xfs", "-q", "-m", "reflink=1", f"{self.space}.img"], check=0)
        mounted = run(["mount", "-o", "loop", f"{self.space}.img", self.space])
        if mounted.rc != 0:
            raise unittest.SkipTest("XFS cannot be mounted: " + mounted.err.strip())
        self.addCleanup(self.space.rmdir)
        self.addCleanup(run, ["umount", "-l", self.space])

    def test_a_copy_takes_no_room(self):
        ctid = self.start("--private", f"{self.space}/$VEID", diskspace="200M")
        self.inside(ctid, "dd if=/dev/urandom of=/big bs=1M count=100 2>/dev/null; sync; md5sum /big > /sum")
        def free():
            run(["sync", "-f", self.space], check=0)
            return os.statvfs(self.space).f_bavail * os.statvfs(self.space).f_frsize
        before = free()
        uuids = [vzctl("snapshot", ctid, "--skip-suspend", "--json", check=0).json()["uuid"] for _ in range(3)]
        self.assertLess(before - free(), 20 << 20)
        self.inside(ctid, "dd if=/dev/urandom of=/big bs=1M count=1 conv=notrunc 2>/dev/null; sync")
        self.switch(ctid, uuids[0])
        vzctl("start", ctid, check=0)
        self.inside(ctid, "md5sum -c /sum")
        for uuid in uuids:
            checked = run(["e2fsck", "-f", "-n", self.space / str(ctid) / "snapshots" / uuid / "root.img"])
            self.assertEqual(checked.rc, 0, repr(checked))
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("destroy", ctid, check=0)


if __name__ == "__main__":
    vzhost.main()

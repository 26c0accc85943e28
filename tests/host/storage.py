#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks of containers: full hosts, resizing up and down, damaged images, loop devices that are not there."""
import os
import pathlib
import re
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import run, vzctl, vzlist

MIB = 1 << 20
PRIVATE = pathlib.Path("/var/lib/vz/private")


def image(ctid):
    return PRIVATE / str(ctid) / "root.img"


def loops():
    return run(["losetup", "-a"]).out


class Full(vzhost.HostTest):
    """A small file system of the host under the private areas."""

    def setUp(self):
        vzhost.busybox_template()
        self.store = pathlib.Path(f"/var/lib/vz/small-{os.getpid()}")
        self.store.mkdir()
        run(["truncate", "-s", "24M", f"{self.store}.img"], check=0)
        run(["mkfs.ext4", "-q", "-m", "0", f"{self.store}.img"], check=0)
        run(["mount", "-o", "loop", f"{self.store}.img", self.store], check=0)
        self.addCleanup(self.store.rmdir)
        self.addCleanup(run, ["umount", "-l", self.store])
        vz_conf = pathlib.Path("/etc/vz/vz.conf")
        saved = vz_conf.read_text()
        vz_conf.write_text(saved + f'VE_PRIVATE="{self.store}/$VEID"\n')
        self.addCleanup(vz_conf.write_text, saved)

    def fill(self, leave):
        free = os.statvfs(self.store).f_bavail * os.statvfs(self.store).f_frsize
        with open(self.store / "fill", "wb", buffering=0) as f:
            try:
                for _ in range((free - leave) // 4096):
                    f.write(bytes(4096))
            except OSError:  # metadata took the rest
                pass
            os.fsync(f.fileno())

    def test_create_on_a_full_disk_leaves_nothing(self):
        for leave in (0, 1, 2):
            with self.subTest(leave=f"{leave} MiB"):
                self.fill(leave * MIB)
                for layout in ("image", "dir") if leave < 2 else ("image",):  # 2 MiB are enough for a directory
                    ctid = self.new_id()
                    self.addCleanup(self.wipe, ctid)
                    sample = pathlib.Path("/etc/vz/conf/ve-none.conf-sample")
                    sample.write_text("")
                    disk = ["--diskspace", "64M"] if layout == "image" else ["--config", "none"]
                    before = loops()
                    result = vzctl("create", ctid, "--ostemplate", vzhost.BUSYBOX, "--layout", layout, *disk)
                    self.assertRc(result, 46)
                    self.assertIn("no space left", result.err.lower())
                    self.assertEqual(vzctl("status", ctid).out, f"CTID {ctid} deleted unmounted down\n")
                    self.assertEqual(sorted(p.name for p in self.store.iterdir()), ["fill", "lost+found"])
                    self.assertEqual(loops(), before)
                    self.assertFalse(pathlib.Path(f"/etc/vz/conf/{ctid}.conf").exists())
                (self.store / "fill").unlink()

    def test_a_host_that_fills_up_under_a_container(self):
        """The image is sparse: the container gets errors, the host's tools go on, nothing is lost once there is room."""
        ctid = self.create(diskspace="64M")
        vzctl("start", ctid, check=0)
        self.inside(ctid, "echo before > /kept; sync")
        self.fill(0)
        vzctl("exec2", ctid, "dd if=/dev/zero of=/x bs=1M count=40; sync")
        self.assertIn("running", self.status(ctid))
        self.assertRc(vzctl("stop", ctid, "--fast"), 0)
        (self.store / "fill").unlink()
        self.assertRc(vzctl("start", ctid), 0)
        self.assertEqual(self.inside(ctid, "cat /kept").strip(), "before")

    def test_config_and_state_on_a_full_disk(self):
        """/etc/vz without room: set says so and keeps the old file whole."""
        ctid = self.create(diskspace="32M")
        conf = pathlib.Path("/etc/vz/conf")
        run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"], check=0)
        self.addCleanup(run, ["umount", "-l", "/mnt"])
        run(["cp", "-a", conf / f"{ctid}.conf", "/mnt/"], check=0)
        run(["mount", "--bind", "/mnt", conf], check=0)
        self.addCleanup(run, ["umount", "-l", conf])
        with open("/mnt/fill", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass
        before = (conf / f"{ctid}.conf").read_bytes()
        result = vzctl("set", ctid, "--description", "d" * 3000, "--save")
        self.assertNotEqual(result.rc, 0)
        self.assertIn("No space left", result.err)
        self.assertEqual((conf / f"{ctid}.conf").read_bytes(), before)
        self.assertEqual(sorted(p.name for p in conf.iterdir()), sorted([f"{ctid}.conf", "fill"]))


class Resize(vzhost.HostTest):
    def size(self, ctid):
        return image(ctid).stat().st_size

    def test_offline_matrix(self):
        ctid = self.create(diskspace="64M")
        vzctl("start", ctid, check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/data bs=1M count=20; sha256sum /data > /sum")
        vzctl("stop", ctid, check=0)
        for mib in (128, 1024, 96, 64, 64, 48):
            with self.subTest(mib=mib):
                vzctl("set", ctid, "--diskspace", f"{mib}M", "--save", check=0)
                self.assertEqual(self.size(ctid), mib * MIB)
                self.assertRc(run(["e2fsck", "-fn", image(ctid)]), 0)
                stored = vzlist("-a", "-j", "-o", "diskspace", ctid, check=0).json()[0]["diskspace"]
                self.assertEqual(stored["hardlimit"], mib * 1024)
        vzctl("start", ctid, check=0)
        self.assertIn("OK", self.inside(ctid, "sha256sum -c /sum"))
        vzctl("stop", ctid, "--fast", check=0)

    def test_below_usage_tells_the_smallest_size(self):
        ctid = self.create(diskspace="128M")
        vzctl("start", ctid, check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/data bs=1M count=60; sha256sum /data > /sum")
        vzctl("stop", ctid, "--fast", check=0)
        before = pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_bytes()
        refused = vzctl("set", ctid, "--diskspace", "32M", "--save")
        self.assertRc(refused, 154)
        told = int(re.search(r"need (\d+) KiB", refused.err).group(1))
        self.assertGreater(told, 60 * 1024)
        self.assertLess(told, 128 * 1024)
        self.assertEqual(pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_bytes(), before)
        self.assertEqual(self.size(ctid), 128 * MIB)
        vzctl("set", ctid, "--diskspace", f"{told}K", "--save", check=0)
        vzctl("start", ctid, check=0)
        self.assertIn("OK", self.inside(ctid, "sha256sum -c /sum"))

    def test_online_shrink_and_nonsense(self):
        ctid = self.start(diskspace="64M")
        for value, rc in (("32M", 154), ("0", None), ("-1", 21), ("8M", None), ("17592186044416T", 21)):
            with self.subTest(value=value):
                result = vzctl("set", ctid, "--diskspace", value, "--save")
                self.assertNotEqual(result.rc, 0, repr(result))
                if rc:
                    self.assertRc(result, rc)
                self.assertEqual(self.size(ctid), 64 * MIB)
        self.inside(ctid, "echo still > /ok")

    def test_grow_beyond_the_host_is_sparse_and_said_or_refused(self):
        ctid = self.create(diskspace="32M")
        result = vzctl("set", ctid, "--diskspace", "900T", "--save")
        self.assertNotEqual(result.rc, 0)
        self.assertEqual(self.size(ctid), 32 * MIB)
        self.assertRc(vzctl("start", ctid), 0)

    def test_killed_while_resizing(self):
        """kill -9 at each step of an offline resize, both ways: the next call completes it and no data is lost."""
        ctid = self.create(diskspace="64M")
        vzctl("start", ctid, check=0)
        self.inside(ctid, "dd if=/dev/urandom of=/data bs=1M count=10; sha256sum /data > /sum")
        vzctl("stop", ctid, "--fast", check=0)
        for mib in (96, 48):
            for step in ("resize.check", "resize.offline"):
                with self.subTest(mib=mib, step=step):
                    killed = vzctl("set", ctid, "--diskspace", f"{mib}M", "--save", env={"VZ_FAULT": step})
                    self.assertRc(killed, -9)
                    self.assertRc(vzctl("start", ctid), 0)
                    self.assertIn("OK", self.inside(ctid, "sha256sum -c /sum"))
                    vzctl("stop", ctid, "--fast", check=0)
            vzctl("set", ctid, "--diskspace", f"{mib}M", "--save", check=0)
            self.assertEqual(self.size(ctid), mib * MIB)

    def test_space_freed_inside_returns_to_the_host_or_stays_sparse(self):
        ctid = self.create(diskspace="256M")
        self.assertLess(image(ctid).stat().st_blocks * 512, 64 * MIB)


class AnotherForm(vzhost.HostTest):
    """compact and convert; limits of the dir layout are the lab's (lab/quota)."""
    LOOK = "cd /t; md5sum *; stat -c '%n %F %a %u %g %h %s %Y' *; readlink soft; find / -xdev | grep -v lost+found | sort | md5sum"

    def test_compact_gives_blocks_back(self):
        for running in (True, False):
            with self.subTest(running=running):
                ctid = self.start(diskspace="128M")
                self.inside(ctid, "dd if=/dev/urandom of=/big bs=1M count=60; sync")
                full = image(ctid).stat().st_blocks * 512
                self.inside(ctid, "rm /big; echo kept >/kept; sync")
                if not running:
                    vzctl("stop", ctid, "--fast", check=0)
                said = vzctl("compact", ctid, check=0).out
                self.assertGreater(int(re.search(r"(\d+) KiB given back", said).group(1)), 50 * 1024)
                self.assertLess(image(ctid).stat().st_blocks * 512, full - 50 * MIB)
                vzctl("stop", ctid, "--fast")
                self.assertRc(run(["e2fsck", "-fn", image(ctid)]), 0)

    def test_compact_where_no_holes_can_be_made(self):
        ctid = self.create(diskspace="32M")
        image(ctid).rename(image(ctid).with_suffix(".away"))
        result = vzctl("compact", ctid)
        self.assertTrue(0 < result.rc < 160, repr(result))
        self.assertIn("root.img", result.err)
        image(ctid).with_suffix(".away").rename(image(ctid))

    def test_convert_there_and_back(self):
        ctid = self.start("--diskquota", "no", diskspace="64M")
        self.inside(ctid, "mkdir -p /t; cd /t; dd if=/dev/urandom of=data bs=64k count=40; ln data linked; ln -s data soft; "
                          "truncate -s 20M hole; echo x >>hole; touch own; chown 33:44 own; chmod 6755 own; echo odd >'new\nline'")
        before = self.inside(ctid, self.LOOK)
        self.assertRc(vzctl("convert", ctid, "--layout", "dir"), 32)
        vzctl("stop", ctid, "--fast", check=0)
        for layout, name in (("simfs", "dir"), ("ploop", "image")):
            vzctl("convert", ctid, "--layout", layout, check=0)
            self.assertEqual(vzlist("-a", "-H", "-o", "layout", ctid, check=0).out.strip(), name)
            vzctl("start", ctid, check=0)
            self.assertEqual(self.inside(ctid, self.LOOK), before)
            vzctl("stop", ctid, "--fast", check=0)
            self.assertEqual(image(ctid).exists(), name == "image")
            self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())

    def test_convert_to_a_limit_that_nothing_enforces_is_refused(self):
        if vzhost.feature("fs.project_quota")["present"]:
            self.skipTest("this file system has project quota")
        ctid = self.create(diskspace="32M")
        refused = vzctl("convert", ctid, "--layout", "dir")
        self.assertRc(refused, 172)
        self.assertIn("--layout image", refused.err)
        self.assertRc(vzctl("start", ctid), 0)

    def test_killed_while_converting(self):
        ctid = self.start("--diskquota", "no", diskspace="48M")
        self.inside(ctid, "mkdir /t; cd /t; dd if=/dev/urandom of=data bs=64k count=20; ln -s data soft")
        before = self.inside(ctid, self.LOOK)
        vzctl("stop", ctid, "--fast", check=0)
        target = "dir"
        for step in ("convert.mount", "create.dir", "create.image", "create.unpack", "convert.exchange", "convert.config", "convert.remove"):
            with self.subTest(step=step):
                killed = vzctl("convert", ctid, "--layout", target, env={"VZ_FAULT": step})
                self.assertIn(killed.rc, (-9, 0) if step.startswith("create") else (-9,))
                vzctl("start", ctid, check=0)
                self.assertEqual(self.inside(ctid, self.LOOK), before)
                self.assertFalse((PRIVATE / f"{ctid}.tmp").exists())
                vzctl("stop", ctid, "--fast", check=0)
                vzctl("convert", ctid, "--layout", target, check=0)
                target = "image" if target == "dir" else "dir"


class Damaged(vzhost.HostTest):
    def scribble(self, ctid, *ranges):
        with open(image(ctid), "r+b") as f:
            for begin, length in ranges:
                f.seek(begin)
                f.write(os.urandom(length))

    def test_superblock_gone(self):
        ctid = self.create(diskspace="32M")
        self.scribble(ctid, (1024, 1024))
        for command in (["start", ctid], ["mount", ctid]):
            result = vzctl(*command)
            self.assertTrue(0 < result.rc < 160, repr(result))
            self.assertIn(str(image(ctid)), result.err)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        self.assertNotIn(str(image(ctid)), loops())
        resized = vzctl("set", ctid, "--diskspace", "64M", "--save")
        self.assertNotEqual(resized.rc, 0)
        self.assertEqual(image(ctid).stat().st_size, 32 * MIB)
        self.assertRc(vzctl("destroy", ctid), 0)

    def test_marked_with_errors_is_checked_and_repaired(self):
        ctid = self.create(diskspace="32M")
        run(["debugfs", "-w", "-R", "ssv state 2", image(ctid)], check=0)  # EXT2_ERROR_FS
        started = vzctl("start", ctid)
        self.assertRc(started, 0)
        self.assertIn("Checking", started.out)
        self.assertEqual(self.inside(ctid, "echo up").strip(), "up")

    def test_broken_beyond_preen_is_refused_with_the_remedy(self):
        ctid = self.create(diskspace="32M")
        run(["debugfs", "-w", "-R", "clri <2>", image(ctid)], check=0)  # no root directory
        run(["debugfs", "-w", "-R", "ssv state 2", image(ctid)], check=0)
        started = vzctl("start", ctid)
        self.assertRc(started, 152)
        self.assertIn("e2fsck", started.err)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        self.assertNotIn(str(image(ctid)), loops())
        self.assertRc(vzctl("start", ctid, "--skip-fsck"), started.rc if vzctl("start", ctid, "--skip-fsck").rc else 0)

    def test_random_damage_never_crashes_vzctl(self):
        ctid = self.create(diskspace="32M")
        whole = image(ctid).read_bytes()
        for seed, ranges in enumerate([[(4096, 4096)], [(8192, 65536)], [(200 * 1024, 65536)], [(1024 + 0x58, 8)], [(1024 + 0x18, 4)],
                                       [(1024, 4), (32768 * 4096 // 8, 4096)]]):
            with self.subTest(seed=seed):
                image(ctid).write_bytes(whole)
                self.scribble(ctid, *ranges)
                result = vzctl("start", ctid, timeout=30)
                self.assertTrue(0 <= result.rc < 160, repr(result))
                vzctl("stop", ctid, "--fast", check=0)
                self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])

    def test_image_that_is_something_else(self):
        ctid = self.create(diskspace="32M")
        path = image(ctid)
        secret = pathlib.Path(f"/var/lib/vz/secret-{os.getpid()}")
        secret.write_text("host data\n")
        makers = {"empty": lambda: path.write_bytes(b""), "short": lambda: path.write_bytes(bytes(5000)), "missing": lambda: None,
                  "directory": path.mkdir, "text": lambda: path.write_text("not an image\n" * 9999)}
        for what, make in makers.items():
            with self.subTest(what=what):
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
                make()
                result = vzctl("start", ctid, timeout=30)
                self.assertTrue(0 < result.rc < 160, repr(result))
                self.assertIn("root.img", result.err)
                self.assertEqual(self.status(ctid)[1:], ["unmounted", "down"])
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        self.assertRc(vzctl("destroy", ctid), 0)

    def test_layout_file(self):
        ctid = self.create(diskspace="32M")
        layout = PRIVATE / str(ctid) / "layout"
        good = layout.read_text()
        for text in ("", "image\n", "image 99\n", "qcow2 1\n", "\0" * 100, "x" * 100000):
            with self.subTest(text=text[:20]):
                layout.write_text(text)
                result = vzctl("start", ctid)
                self.assertRc(result, 43)
                self.assertIn("layout", result.err)
        layout.write_text(good)
        self.assertRc(vzctl("start", ctid), 0)

    def test_private_area_gone(self):
        ctid = self.create(diskspace="32M")
        (PRIVATE / str(ctid)).rename(PRIVATE / f"{ctid}.away")
        result = vzctl("start", ctid)
        self.assertRc(result, 43)
        self.assertIn(str(PRIVATE / str(ctid)), result.err)
        self.assertEqual(self.status(ctid), ["deleted", "unmounted", "down"])
        (PRIVATE / f"{ctid}.away").rename(PRIVATE / str(ctid))
        self.assertRc(vzctl("start", ctid), 0)


class Loops(vzhost.HostTest):
    def test_no_loop_device_to_be_had(self):
        """loop-control of this namespace answers nothing: a clear refusal, nothing left."""
        ctid = self.create(diskspace="32M")
        other = self.new_id()
        run(["mount", "--bind", "/dev/null", "/dev/loop-control"], check=0)
        try:
            for command in (["start", ctid], ["create", other, "--ostemplate", vzhost.BUSYBOX, "--diskspace", "32M"]):
                result = vzctl(*command)
                self.assertTrue(0 < result.rc < 160, repr(result))
                self.assertIn("loop", result.err)
        finally:
            run(["umount", "/dev/loop-control"], check=0)
        self.assertEqual(vzctl("status", other).out.split()[2], "deleted")
        self.assertFalse((PRIVATE / f"{other}.tmp").exists())
        self.assertRc(vzctl("start", ctid), 0)

    def test_ten_at_once_each_get_their_own(self):
        ids = [self.create(diskspace="16M") for _ in range(6)]
        results = {}

        def start(ctid):
            results[ctid] = vzctl("start", ctid)
        threads = [threading.Thread(target=start, args=(ctid,)) for ctid in ids]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual([results[i].rc for i in ids], [0] * len(ids), results)
        for ctid in ids:
            self.inside(ctid, f"echo {ctid} > /mine; sync")
        for ctid in ids:
            self.assertEqual(self.inside(ctid, "cat /mine").strip(), str(ctid))
            vzctl("stop", ctid, "--fast", check=0)
            self.assertNotIn(str(image(ctid)), loops())

    def test_foreign_user_of_the_image(self):
        """Somebody else's loop device on the image: an offline resize refuses and names it."""
        ctid = self.create(diskspace="32M")
        device = run(["losetup", "-f", "--show", image(ctid)], check=0).out.strip()
        try:
            result = vzctl("set", ctid, "--diskspace", "64M", "--save")
            self.assertRc(result, 154)
            self.assertIn(device, result.err)
        finally:
            run(["losetup", "-d", device], check=0)
        vzctl("set", ctid, "--diskspace", "64M", "--save", check=0)


if __name__ == "__main__":
    vzhost.main()

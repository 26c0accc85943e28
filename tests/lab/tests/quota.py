#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk limits of the dir layout: project quota of ext4 and XFS on a disk of its own, felt inside and out of reach there."""
import os
import pathlib
import re
import shutil
import time

import labguest
import node
import vzhost
from escape import check_out_of_reach
from labguest import MIB, set_
from quotafs import PROJECT, disk_usage, project_of, quota
from vzhost import run, vzctl, vzlist

STORE = pathlib.Path("/var/lib/vz/store")
PRIVATE_PROJECT = 0x70000000 - 1
DISK = pathlib.Path("/dev/vdb").resolve()  # of user-mode Linux it is a link
CONF = pathlib.Path("/etc/vz/conf")


def make_file_system(kind):
    """On the disk, mounted with project quota where the private areas of this class are."""
    run(["umount", STORE])
    STORE.mkdir(parents=True, exist_ok=True)
    if kind == "ext4":
        run(["mkfs.ext4", "-q", "-F", "-O", "quota,project", DISK], check=0)
    else:
        run(["mkfs.xfs", "-q", "-f", DISK], check=0)
    run(["mount", "-t", kind, "-o", "prjquota", DISK, STORE], check=0)


def tree(ctid):
    return STORE / str(ctid) / "fs"


class OnDisk(vzhost.HostTest):
    """Base: the private areas on a file system of their own."""
    KIND = ""
    # XFS tells a full project as a full disk (xfs_trans_dqresv).
    FULL = "Disk quota exceeded"

    @classmethod
    def setUpClass(cls):
        if not DISK.exists():
            raise vzhost.unittest.SkipTest("needs --disks 1")
        make_file_system(cls.KIND)
        cls.addClassCleanup(run, ["umount", STORE])
        conf = pathlib.Path("/etc/vz/vz.conf")
        cls.addClassCleanup(conf.write_text, conf.read_text())
        conf.write_text(conf.read_text() + f'VE_PRIVATE="{STORE}/$VEID"\n')
        sample = CONF / "ve-none.conf-sample"
        sample.write_text("")

    def make(self, *options, ctid=None, diskspace="32M"):
        ctid = ctid or self.new_id()
        self.addCleanup(self.wipe, ctid)
        disk = ["--diskspace", diskspace] if diskspace else []
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "dir", "--config", "none", *disk, *options,
              check=0)
        return ctid

    def start_dir(self, *options, **kw):
        ctid = self.make(*options, **kw)
        vzctl("start", ctid, check=0)
        return ctid

    def write(self, ctid, mib, name="/data"):
        """Writes until it is refused; the bytes that arrived and the message."""
        done = vzctl("exec3", ctid, "dd", "if=/dev/zero", f"of={name}", "bs=64k", f"count={mib * 16}", "conv=fsync")
        size = int(self.inside(ctid, f"stat -c %s {name} || echo 0", check=None))
        return size, done.err

    def usage(self, ctid):
        entry = vzlist("-a", "-j", "-o", "diskspace,diskinodes", ctid, check=0).json()[0]
        return entry["diskspace"]["usage"], entry["diskinodes"]["usage"]

    def assert_counted(self, ctid):
        """The quota says what du counts. A file system gives what was only reserved its place, or takes it back, when data is
        written, and a running container writes at any time: so they have to agree within ten seconds of synced data."""
        seen = None

        def agree():
            nonlocal seen
            run(["sync", "-f", tree(ctid)], check=0)
            total, count = disk_usage(tree(ctid))
            seen = self.usage(ctid), (total // 1024, count)
            return seen[0] == seen[1]
        try:
            vzhost.wait_for(agree, timeout=10)
        except AssertionError:
            self.fail(f"the quota says (KiB, inodes) {seen[0]}, du {seen[1]}")

    def df(self, ctid, *options):
        return [int(word) for word in self.inside(ctid, f"df -P {' '.join(options)} / | tail -n 1").split()[1:4]]


class Common:
    def test_the_limit_bites_inside_with_edquot(self):
        ctid = self.start_dir("--diskinodes", "4000")
        size, said = self.write(ctid, 64)
        self.assertIn(self.FULL, said)
        self.assertGreater(size, 24 * MIB)
        self.assertLess(size, 32 * MIB)
        used, _ = self.usage(ctid)
        self.assertLessEqual(used, 32 * 1024)
        self.inside(ctid, "rm /data")
        self.assertNotIn(self.FULL, self.write(ctid, 8)[1])

    def test_a_neighbour_and_the_host_are_not_limited(self):
        full, other = self.start_dir(), self.start_dir()
        self.write(full, 64)
        self.assertEqual(self.write(other, 16)[0], 16 * MIB)
        (STORE / "host").write_bytes(bytes(MIB))
        (STORE / "host").unlink()

    def test_inode_limit(self):
        ctid = self.start_dir("--diskinodes", "1000")
        made = vzctl("exec3", ctid, "sh", "-c", "i=0; while [ $i -lt 1200 ]; do : >/f$i || exit; i=$((i + 1)); done")
        self.assertIn(self.FULL, made.err + made.out)
        # What runs inside may remove a file at any time: both have to say the same within ten seconds.
        vzhost.wait_for(lambda: self.df(ctid, "-i")[1] == self.usage(ctid)[1], timeout=10, what="df -i to say what the quota says")
        total, used, left = self.df(ctid, "-i")
        self.assertEqual((total, used + left), (1000, 1000))
        self.assertLess(left, 10)
        self.assertLess(int(self.inside(ctid, "ls / | wc -l")), 1000)

    def test_df_inside_shows_the_limit(self):
        ctid = self.start_dir("--diskinodes", "5000")
        total, used, left = self.df(ctid, "-k")
        self.assertEqual(total, 32 * 1024)
        self.assertEqual(used + left, total)
        self.assertEqual(self.df(ctid, "-i")[0], 5000)
        self.write(ctid, 4)
        # What was reserved for the start's own files may be given back meanwhile.
        vzhost.wait_for(lambda: abs(self.df(ctid, "-k")[1] - used - 4096) <= 512, timeout=10, what="df to show 4 MiB more")

    def test_usage_is_what_du_counts(self):
        ctid = self.start_dir()
        self.inside(ctid, "mkdir /d; ln -s /etc/passwd /d/l; mkfifo /d/p; dd if=/dev/zero of=/d/f bs=1k count=100; ln /d/f /d/g; sync")
        self.assert_counted(ctid)

    def test_online_change_up_down_and_off(self):
        ctid = self.start_dir()
        self.write(ctid, 64)
        set_(ctid, "--diskspace", "48M", check=0)
        self.assertEqual(self.df(ctid, "-k")[0], 48 * 1024)
        self.assertGreater(self.write(ctid, 64)[0], 36 * MIB)
        lower = set_(ctid, "--diskspace", "16M", check=0)  # as OpenVZ did: nothing more can be written
        self.assertIn("more than --diskspace", lower.err)
        self.assertEqual(self.df(ctid, "-k")[2], 0)
        self.assertIn(self.FULL, self.write(ctid, 1, "/more")[1])
        set_(ctid, "--diskspace", "unlimited", check=0)
        self.assertEqual(self.write(ctid, 64)[0], 64 * MIB)

    def test_change_without_save_is_gone_after_a_restart(self):
        ctid = self.start_dir()
        vzctl("set", ctid, "--diskspace", "20M", check=0)
        self.assertEqual(self.df(ctid, "-k")[0], 20 * 1024)
        vzctl("restart", ctid, "--fast", check=0)
        self.assertEqual(self.df(ctid, "-k")[0], 32 * 1024)

    def test_change_of_a_stopped_one(self):
        ctid = self.make()
        set_(ctid, "--diskspace", "24M", "--diskinodes", "2000", check=0)
        vzctl("start", ctid, check=0)
        self.assertEqual((self.df(ctid, "-k")[0], self.df(ctid, "-i")[0]), (24 * 1024, 2000))

    def test_soft_limit_and_grace(self):
        ctid = self.start_dir("--quotatime", "3", diskspace="16M:32M")
        self.assertEqual(self.df(ctid, "-k")[0], 16 * 1024)
        began = time.monotonic()
        size, said = self.write(ctid, 20)
        if time.monotonic() - began < 2:  # else the grace time may have ended before all was written
            self.assertEqual(size, 20 * MIB, said)
        self.assertGreater(size, 12 * MIB, said)
        vzhost.wait_for(lambda: self.FULL in self.write(ctid, 1, "/late")[1], timeout=60, what="the end of the grace time")
        self.inside(ctid, "rm -f /data /late")
        self.assertEqual(self.write(ctid, 8)[0], 8 * MIB)

    def test_no_grace_makes_the_soft_limit_hard(self):
        ctid = self.start_dir("--quotatime", "0", diskspace="16M:32M")
        self.assertLess(self.write(ctid, 32)[0], 16 * MIB)
        set_(ctid, "--quotatime", "600", check=0)
        self.assertGreater(self.write(ctid, 24)[0], 20 * MIB)

    def test_diskquota_no(self):
        ctid = self.start_dir("--diskquota", "no", diskspace="8M")
        self.assertEqual(self.write(ctid, 16)[0], 16 * MIB)
        self.assertGreater(self.usage(ctid)[0], 16 * 1024)
        set_(ctid, "--diskquota", "yes", "--setmode", "restart", check=0)
        self.assertIn(self.FULL, self.write(ctid, 1, "/more")[1])

    def test_the_id_comes_back_without_limits(self):
        ctid = self.make()
        project, inherited = project_of(tree(ctid))
        self.assertTrue(inherited)
        self.assertEqual(project_of(tree(ctid).parent), (PRIVATE_PROJECT, True))
        self.assertIn(f"{ctid} {project} 65536", pathlib.Path("/var/lib/vz/idmap").read_text())
        vzctl("destroy", ctid, check=0)
        other = self.make(diskspace=None)
        self.assertEqual(project_of(tree(other))[0], project)
        vzctl("start", other, check=0)
        self.assertEqual(self.write(other, 48)[0], 48 * MIB, "a limit of the destroyed one is still in force")

    def test_an_id_that_is_in_use_is_not_taken(self):
        probe = self.make()
        project = project_of(tree(probe))[0]
        vzctl("destroy", probe, check=0)
        foreign = STORE / "foreign"
        foreign.mkdir()
        self.addCleanup(shutil.rmtree, foreign)
        run(["chattr", "-p", str(project), foreign], check=0)
        ctid = self.make()
        self.assertEqual(project_of(tree(ctid))[0], project + 1)

    def test_every_inode_of_a_tree_from_elsewhere_is_counted(self):
        """A private area that rsync brought has no ids; what chattr cannot reach is there, too."""
        ctid = self.make()
        root = tree(ctid)
        bare = STORE / "bare"
        run(["cp", "-a", root.parent, bare], check=0)
        shutil.rmtree(root.parent)
        bare.rename(root.parent)
        self.assertEqual(project_of(root), (0, False))
        run(["sh", "-c", f"i=0; mkdir {root}/deep; cd {root}/deep; while [ $i -lt 30 ]; do mkdir {'d' * 200}; cd -P ./{'d' * 200}; "
             "i=$((i + 1)); done; echo hello >end; ln -s /etc/shadow link; mkfifo pipe"], check=0)
        odd = root / "odd"
        odd.mkdir()
        os.mknod(odd / "null", 0o4644 | 0o020000, os.makedev(1, 3))
        os.chown(odd / "null", 12, 34)
        (odd / "new\nline\x1b").write_text("x")
        os.symlink("/dev/sda", odd / "abs")
        os.symlink("x" * 1000, odd / "long")
        (odd / "still").write_text("immutable")
        run(["chattr", "+i", odd / "still"], check=0)
        self.addCleanup(run, ["chattr", "-R", "-i", odd])
        os.link(odd / "new\nline\x1b", odd / "twice")
        before = os.lstat(odd / "null")
        vzctl("start", ctid, check=0)
        self.assertTrue(project_of(root)[1])
        after = os.lstat(odd / "null")
        self.assertEqual((before.st_mode, before.st_rdev, before.st_uid, before.st_mtime_ns),
                         (after.st_mode, after.st_rdev, after.st_uid, after.st_mtime_ns))
        self.assertEqual(os.readlink(odd / "abs"), "/dev/sda")
        self.assertIn("i", run(["lsattr", odd / "still"]).out.split()[0])
        self.assertEqual((odd / "twice").stat().st_nlink, 2)
        self.assertFalse((root.parent / "scratch").exists())
        self.assert_counted(ctid)

    def test_a_tree_with_the_project_of_another_container(self):
        """As a private area that was copied or moved here by hand has it: both would be counted as one."""
        one, two = self.make(), self.make()
        theirs = project_of(tree(one))[0]

        def counted():
            now = quota(STORE, PROJECT, theirs)
            return now["bytes"], now["inodes"]
        run(["sync", "-f", STORE], check=0)
        before = counted()
        run(["chattr", "-R", "-p", str(theirs), tree(two)])  # it fails at symbolic links, which keep theirs
        self.assertEqual(project_of(tree(two))[0], theirs)
        self.assertGreater(counted()[1], before[1])
        vzctl("start", two, check=0)
        self.assertNotEqual(project_of(tree(two))[0], theirs)
        vzhost.wait_for(lambda: counted() == before, what="the first one to be counted alone")
        self.assert_counted(two)
        self.assertEqual(self.df(two, "-k")[0], 32 * 1024)

    def test_killed_while_the_ids_are_given(self):
        ctid = self.make()
        root = tree(ctid)
        for step in ("quota.assign", "quota.assigned", "quota.limits", "start.quota"):
            with self.subTest(step=step):
                bare = STORE / "bare"
                run(["cp", "-a", root.parent, bare], check=0)
                shutil.rmtree(root.parent)
                bare.rename(root.parent)
                killed = vzctl("start", ctid, env={"VZ_FAULT": step})
                self.assertRc(killed, -9)
                vzctl("start", ctid, check=0)
                self.assertEqual(self.df(ctid, "-k")[0], 32 * 1024)
                self.assert_counted(ctid)
                vzctl("stop", ctid, "--fast", check=0)
                set_(ctid, "--diskspace", "31M", check=0)
                set_(ctid, "--diskspace", "32M", check=0)

    def test_killed_at_every_step_of_create_and_destroy(self):
        def steps(*args):
            trace = pathlib.Path("/tmp/trace")
            trace.unlink(missing_ok=True)
            vzctl(*args, env={"VZ_FAULT_TRACE": str(trace)}, check=0)
            return list(dict.fromkeys(trace.read_text().split()))

        def create(ctid):
            return ("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "dir", "--config", "none", "--diskspace", "32M")
        probe = self.new_id()
        for step in steps(*create(probe)):
            with self.subTest(create=step):
                ctid = self.new_id()
                self.addCleanup(self.wipe, ctid)
                self.assertRc(vzctl(*create(ctid), env={"VZ_FAULT": step}), -9)
                self.assertIn(vzctl(*create(ctid)).rc, (0, 44))
                vzctl("start", ctid, check=0)
                self.assertEqual(self.df(ctid, "-k")[0], 32 * 1024)
                self.wipe(ctid)
        for step in steps("destroy", probe):
            with self.subTest(destroy=step):
                ctid = self.make()
                self.assertRc(vzctl("destroy", ctid, env={"VZ_FAULT": step}), -9)
                self.assertIn(vzctl("destroy", ctid).rc, (0, 14))
                self.assertEqual(sorted(p.name for p in STORE.iterdir() if p.name not in ("lost+found",)), [])

    def test_links_and_renames_between_containers_are_refused(self):
        one, two = self.make(), self.make()
        (tree(one) / "file").write_text("x")
        outside = STORE / "outside"
        outside.write_text("x")
        self.addCleanup(outside.unlink)
        for source, target in ((tree(one) / "file", tree(two) / "file"), (outside, tree(one) / "in"),
                               (tree(one) / "file", tree(one).parent / "up")):
            for call in (os.link, os.rename):
                with self.subTest(call=call.__name__, source=str(source), target=str(target)):
                    with self.assertRaises(OSError) as caught:
                        call(source, target)
                    self.assertEqual(caught.exception.errno, 18)  # EXDEV

    def test_container_root_reaches_neither_ids_nor_limits(self):
        """Compiled here, run inside: project ids, inheritance, limits, the quota's files."""
        ctid = self.start_dir()
        check_out_of_reach(self, ctid, tree(ctid))
        self.assertEqual(self.df(ctid, "-k")[0], 32 * 1024)

    def test_bad_values(self):
        ctid = self.make()
        before = (CONF / f"{ctid}.conf").read_text()
        for options, code, words in ((("--diskspace", "2G:1G"), 21, "above"), (("--diskinodes", "20:10"), 21, "above"),
                                     (("--diskspace", "x"), 21, "diskspace"), (("--diskinodes", "10K"), 21, "diskinodes"),
                                     (("--quotatime", "-1"), 21, "quotatime"), (("--quotatime", "4294967296"), 21, "quotatime"),
                                     (("--diskquota", "maybe"), 21, "diskquota")):
            with self.subTest(options=options):
                result = set_(ctid, *options)
                self.assertRc(result, code)
                self.assertIn(words, result.err)
        self.assertEqual((CONF / f"{ctid}.conf").read_text(), before)

    def test_vzquota_shows_and_sets_it(self):
        ctid = self.start_dir("--diskinodes", "4000")

        def vzquota(*args, **kw):
            return run([vzhost.BIN / "vzquota", *args], **kw)
        vzquota("setlimit", ctid, "-b", 20480, "-B", 24576, "-i", 3000, "-I", 3500, "-e", 86400, check=0)
        for verb in "stat", "show":
            self.assertRegex(vzquota(verb, ctid, check=0).out, r"(?m)^  1k-blocks +\d+ +20480 +24576\n +inodes +\d+ +3000 +3500\n")
        self.assertEqual((self.df(ctid, "-k")[0], self.df(ctid, "-i")[0]), (20480, 3000))
        self.assertLess(self.write(ctid, 64)[0], 24 * MIB)
        config = (CONF / f"{ctid}.conf").read_text()
        self.assertIn('DISKSPACE="20M:24M"', config)
        for bad in (("setlimit", ctid), ("setlimit", ctid, "-b", 30000), ("setlimit", ctid, "-B", "many"), ("nonsense", ctid),
                    ("stat", self.new_id())):
            with self.subTest(bad=bad):
                self.assertNotIn(vzquota(*bad).rc, (0, -6, -11))
        self.assertEqual((CONF / f"{ctid}.conf").read_text(), config)

    def test_2_to_the_53_kib_and_the_like(self):
        ctid = self.start_dir()
        for space in ("1T", "8000T", str((1 << 53) - 1)):
            with self.subTest(space=space):
                result = set_(ctid, "--diskspace", space)
                self.assertIn(result.rc, (0, 21, 62), repr(result))
        set_(ctid, "--diskspace", "32M", check=0)
        self.assertEqual(self.df(ctid, "-k")[0], 32 * 1024)

    def test_a_template_that_does_not_fit_is_said(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        result = vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "dir", "--config", "none",
                       "--diskspace", "256K")
        self.assertRc(result, 46)
        self.assertIn("--diskspace", result.err)
        self.assertFalse((STORE / f"{ctid}.tmp").exists())

    def test_sparse_and_large_files(self):
        ctid = self.start_dir()
        self.inside(ctid, "truncate -s 1G /sparse; sync")
        self.assertLess(self.usage(ctid)[0], 16 * 1024)

    def test_deleted_but_open_is_counted_until_closed(self):
        ctid = self.start_dir()
        before = self.usage(ctid)[0]
        self.inside(ctid, "mkfifo /gate; dd if=/dev/zero of=/held bs=1M count=8 conv=fsync; (exec 3</held; rm /held; echo up >/ready; read x </gate) "
                          "</dev/null >/dev/null 2>&1 & while [ ! -e /ready ]; do sleep 0.1; done")
        self.assertGreater(self.usage(ctid)[0], before + 7 * 1024)  # 8 MiB, less what others give back
        self.inside(ctid, "echo go >/gate")
        vzhost.wait_for(lambda: self.usage(ctid)[0] < before + 1024, what="the end of the file")


class Ext4(Common, OnDisk):
    KIND = "ext4"


class Xfs(Common, OnDisk):
    KIND = "xfs"
    FULL = "No space left on device"

    def test_shared_blocks_count_for_each_file_that_has_them(self):
        ctid = self.start_dir()
        self.inside(ctid, "dd if=/dev/urandom of=/data bs=1M count=6 conv=fsync; md5sum </data >/sum")
        before = self.usage(ctid)[0]
        free = os.statvfs(STORE).f_bfree
        made = [tree(ctid) / f"copy{number}" for number in range(8)]
        results = [run(["cp", "--reflink=always", tree(ctid) / "data", copy]) for copy in made]
        self.assertEqual(results[0].rc, 0, repr(results[0]))
        self.assertNotEqual(results[-1].rc, 0)  # 6 MiB and eight times as much are more than 32
        self.assertIn(self.FULL, results[-1].err)
        self.assertLess((free - os.statvfs(STORE).f_bfree) * os.statvfs(STORE).f_frsize, 6 * MIB, "nothing was shared")
        self.assertGreater(self.usage(ctid)[0], before + 10 * 1024)
        self.assertLessEqual(self.usage(ctid)[0], 32 * 1024)
        self.assert_counted(ctid)
        self.inside(ctid, "rm /data; for f in /copy[1-9]; do rm $f; done; md5sum </copy0 | cmp - /sum")
        self.assert_counted(ctid)
        self.assertLess(self.usage(ctid)[0], before + 1024)


class UserLimits(OnDisk):
    """Limits of users inside are kept at ids of the host's file system, which change hands."""
    KIND = "ext4"
    TEMPLATE = ("--layout", "dir", "--config", "none", "--ostemplate")

    def limits(self, ctid, call=vzctl):
        """(kind, id): its four limits; of those that have any."""
        out, report = {}, call("quota", ctid, "report", "--json", check=0).json()
        for kind in ("user", "group"):
            for entry in report[kind]["quotas"]:
                four = tuple(entry[f"{what}_{which}"] for what in ("space", "inodes") for which in ("soft", "hard"))
                if any(four):
                    out[kind, entry["id"]] = four
        return out

    def set_some(self, ctid):
        vzctl("quota", ctid, "user", "1000", "--blocks", "512:1024", "--inodes", "5:10", check=0)
        vzctl("quota", ctid, "user", "65535", "--blocks", "0:2048", check=0)
        vzctl("quota", ctid, "group", "7", "--inodes", "0:9", check=0)
        wanted = {("user", 1000): (512 << 10, 1 << 20, 5, 10), ("user", 65535): (0, 2 << 20, 0, 0), ("group", 7): (0, 0, 0, 9)}
        self.assertEqual(self.limits(ctid), wanted)
        return wanted

    def node(self, on_disk):
        """Another host, whose private areas are on the same disk, or where there are no quotas."""
        b = node.Node(self)
        mount = f"mount {DISK} /mnt; mkdir -p /mnt/b; mount --bind /mnt/b {STORE}" if on_disk else f"mount -t tmpfs none {STORE}"
        run([*b.enter(), "sh", "-ec", f"mkdir -p {STORE} /mnt; {mount}"], check=0)
        return b

    def test_they_move_with_the_container(self):
        b, ctid, other = self.node(on_disk=True), self.make(), self.new_id()
        self.addCleanup(b.wipe, ctid)
        self.addCleanup(b.wipe, other)
        # It takes the ids that this one has here: what moves gets others.
        b.vzctl("create", other, *self.TEMPLATE, vzhost.busybox_template(), check=0)
        wanted = self.set_some(ctid)
        vzctl("migrate", ctid, "b", "--transport", b.transport(), check=0)
        self.assertEqual(self.limits(ctid, b.vzctl), wanted)
        ids = pathlib.Path(b.work, "lib", "idmap").read_text()
        self.assertNotEqual(*(re.search(rf"(?m)^{c}\b(.*)", ids)[1] for c in (ctid, other)), ids)

    def test_a_host_without_quotas_is_refused(self):
        b, ctid = self.node(on_disk=False), self.make(diskspace=None)
        self.addCleanup(b.wipe, ctid)
        wanted = self.set_some(ctid)
        refused = vzctl("migrate", ctid, "b", "--transport", b.transport())
        self.assertRc(refused, 172)
        self.assertRegex(refused.err, r"users in it have disk limits.*no quotas\n.*--force")
        self.assertEqual(self.limits(ctid), wanted)
        vzctl("migrate", ctid, "b", "--transport", b.transport(), "--force", check=0)
        self.assertIn("exist", b.vzctl("status", ctid, check=0).out)

    def test_who_gets_the_ids_gets_no_limits(self):
        ctid = self.make()
        self.set_some(ctid)
        vzctl("destroy", ctid, check=0)
        self.assertEqual(self.limits(self.make()), {})


class Support(OnDisk):
    """File systems that cannot, or not yet: said exactly, and what can be done online is."""
    KIND = "ext4"

    def again(self, kind, make, options):
        run(["umount", STORE])
        run([f"mkfs.{kind}", "-q", "-F" if kind == "ext4" else "-f", *make, DISK], check=0)
        run(["mount", "-t", kind, "-o", options, DISK, STORE], check=0)

    def refused(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        result = vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "dir", "--config", "none",
                       "--diskspace", "32M")
        self.assertRc(result, 172)
        self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted")
        return result.err

    def test_without_the_features_the_commands_are_told_and_work(self):
        self.again("ext4", (), "defaults")
        said = self.refused()
        self.assertIn(f"modprobe quota_v2; umount {STORE}; tune2fs -O quota,project -Q prjquota {DISK}; mount -o prjquota {DISK} {STORE}", said)
        found = vzhost.feature("fs.project_quota")
        self.assertFalse(found["present"])
        self.assertIn("tune2fs", found["remedy"])
        self.assertRc(vzctl("check", "--fix"), 172)
        plain = self.make(diskspace=None)
        commands = re.search(r"umount \S+?; tune2fs .*?; mount -o prjquota \S+ [^\s,]+", said).group(0)
        run(["sh", "-ec", commands], check=0)
        set_(plain, "--diskspace", "24M", check=0)
        vzctl("start", plain, check=0)
        self.assertEqual(self.df(plain, "-k")[0], 24 * 1024)

    def test_mounted_without_the_option_is_fixed_online(self):
        self.again("ext4", ("-O", "quota,project"), "defaults")
        self.assertIn("vzctl check --fix", self.refused())
        vzctl("check", "--fix", check=0)
        self.assertTrue(vzhost.feature("fs.project_quota")["present"])
        ctid = self.start_dir()
        self.assertIn(self.FULL, self.write(ctid, 64)[1])

    def test_xfs_without_the_option(self):
        self.FULL = Xfs.FULL
        self.again("xfs", (), "defaults")
        self.assertIn(f"umount {STORE}; mount -o prjquota {DISK} {STORE}", self.refused())
        self.again("xfs", (), "pqnoenforce")
        self.assertIn("vzctl check --fix", self.refused())
        vzctl("check", "--fix", check=0)
        ctid = self.start_dir()
        self.assertIn(self.FULL, self.write(ctid, 64)[1])

    def test_start_where_the_limit_cannot_be_kept(self):
        self.again("ext4", ("-O", "quota,project"), "prjquota")
        ctid = self.make()
        run(["umount", STORE], check=0)
        run(["tune2fs", "-O", "^project,^quota", DISK], check=0)
        run(["mount", DISK, STORE], check=0)
        refused = vzctl("start", ctid)
        self.assertRc(refused, 172)
        self.assertIn("tune2fs", refused.err)
        vzctl("start", ctid, "--force", check=0)
        self.assertEqual(self.write(ctid, 40)[0], 40 * MIB)

    def test_another_file_system(self):
        run(["umount", STORE])
        run(["mount", "-t", "tmpfs", "none", STORE], check=0)
        self.assertIn("tmpfs has no project quota", self.refused())


class Convert(OnDisk):
    """From one layout to the other and back: nothing is lost, limits hold on both sides."""
    KIND = "ext4"
    FILL = ("mkdir -p /t/sub; cd /t; dd if=/dev/urandom of=data bs=64k count=40; ln data linked; ln -s data soft; mkfifo pipe; "
            "truncate -s 20M hole; echo x >>hole; touch own; chown 33:44 own; chmod 6755 own; touch -d 2001-02-03 old; "
            "echo odd >'new\nline'; chmod 1777 sub; sync")
    LOOK = ("cd /t; md5sum data linked hole; stat -c '%n %F %a %u %g %h %s %Y' data linked soft pipe hole own old sub; readlink soft; "
            "ls -lA /bin | tail -n +2 | md5sum; find / -xdev | grep -v lost+found | sort | md5sum")

    def layout(self, ctid):
        return vzlist("-a", "-H", "-o", "layout", ctid, check=0).out.strip()

    def image(self, ctid):
        return STORE / str(ctid) / "root.img"

    def test_there_and_back(self):
        ctid = self.start_dir(diskspace="64M")
        self.inside(ctid, self.FILL)
        xattr = ["setfattr", "-n", "user.note", "-v", "kept", tree(ctid) / "t" / "data"]
        has_xattr = shutil.which("setfattr") and run(xattr).rc == 0
        before = self.inside(ctid, self.LOOK)
        project = project_of(tree(ctid))[0]
        self.assertRc(vzctl("convert", ctid), 32)
        vzctl("stop", ctid, "--fast", check=0)
        done = vzctl("convert", ctid, "--layout", "ploop", check=0)
        self.assertIn("Copying content to image...", done.out)
        self.assertIn("successfully converted", done.out)
        self.assertEqual(self.layout(ctid), "image")
        self.assertFalse(tree(ctid).exists())
        self.assertEqual(self.image(ctid).stat().st_size, 64 * MIB)
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, self.LOOK), before)
        self.assertLess(self.image(ctid).stat().st_blocks * 512, 40 * MIB, "holes stay holes")
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("convert", ctid, "--layout", "simfs", check=0)
        self.assertEqual(self.layout(ctid), "dir")
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, self.LOOK), before)
        if has_xattr:
            self.assertIn("kept", run(["getfattr", "-n", "user.note", tree(ctid) / "t" / "data"]).out)
        self.assertEqual(project_of(tree(ctid))[0] in (project, project + 1), True)
        self.assert_counted(ctid)
        self.assertIn(self.FULL, self.write(ctid, 80)[1])
        self.assertEqual(vzctl("convert", ctid).rc, 32)
        vzctl("stop", ctid, "--fast", check=0)
        self.assertIn("already", vzctl("convert", ctid, "--layout", "dir", check=0).out)

    def test_killed_at_every_step(self):
        ctid = self.start_dir(diskspace="48M")
        self.inside(ctid, self.FILL)
        before = self.inside(ctid, self.LOOK)
        vzctl("stop", ctid, "--fast", check=0)
        trace = pathlib.Path("/tmp/trace")
        trace.unlink(missing_ok=True)
        vzctl("convert", ctid, "--layout", "image", env={"VZ_FAULT_TRACE": str(trace)}, check=0)
        vzctl("convert", ctid, "--layout", "dir", env={"VZ_FAULT_TRACE": str(trace)}, check=0)
        steps = sorted(set(trace.read_text().split()))
        self.assertIn("convert.exchange", steps)
        for step in steps:
            with self.subTest(step=step):
                target = "dir" if self.layout(ctid) == "image" else "image"
                killed = vzctl("convert", ctid, "--layout", target, env={"VZ_FAULT": step})
                self.assertIn(killed.rc, (-9, 0), step)  # 0: a step of the other direction
                vzctl("start", ctid, check=0)
                self.assertEqual(self.inside(ctid, self.LOOK), before, step)
                self.assertFalse((STORE / f"{ctid}.tmp").exists(), step)
                vzctl("stop", ctid, "--fast", check=0)
                vzctl("convert", ctid, "--layout", target, check=0)
                self.assertEqual(self.layout(ctid), target)

    def test_what_does_not_fit_is_said_and_nothing_changes(self):
        ctid = self.start_dir(diskspace="64M")
        self.inside(ctid, "dd if=/dev/urandom of=/data bs=1M count=40; md5sum /data >/sum")
        vzctl("stop", ctid, "--fast", check=0)
        set_(ctid, "--diskspace", "24M", check=0)
        refused = vzctl("convert", ctid, "--layout", "image")
        self.assertRc(refused, 46)
        self.assertIn("--diskspace", refused.err)
        self.assertFalse((STORE / f"{ctid}.tmp").exists())
        self.assertEqual(self.layout(ctid), "dir")
        vzctl("start", ctid, check=0)
        self.assertIn("OK", self.inside(ctid, "md5sum -c /sum"))

    def test_without_a_size_there_is_no_image(self):
        ctid = self.make(diskspace=None)
        self.assertRc(vzctl("convert", ctid, "--layout", "image"), 63)
        self.assertRc(vzctl("convert", ctid, "--layout", "qcow2"), 21)

    def test_compact_gives_blocks_back(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "image", "--config", "none", "--diskspace", "128M",
              check=0)
        for running in (True, False):
            with self.subTest(running=running):
                vzctl("start", ctid, check=0)
                self.inside(ctid, "dd if=/dev/urandom of=/big bs=1M count=60; sync")
                full = self.image(ctid).stat().st_blocks * 512
                self.assertGreater(full, 60 * MIB)
                self.inside(ctid, "rm /big; echo kept >/kept; sync")
                if not running:
                    vzctl("stop", ctid, "--fast", check=0)
                said = vzctl("compact", ctid, check=0).out
                given = int(re.search(r"(\d+) KiB given back", said).group(1))
                self.assertGreater(given, 50 * 1024)
                self.assertLess(self.image(ctid).stat().st_blocks * 512, full - 50 * MIB)
                vzctl("stop", ctid, "--fast")
                self.assertRc(run(["e2fsck", "-fn", self.image(ctid)]), 0)

    def test_compact_of_a_directory_says_so(self):
        ctid = self.make()
        self.assertIn("nothing to compact", vzctl("compact", ctid, check=0).out)


if __name__ == "__main__":
    labguest.main()

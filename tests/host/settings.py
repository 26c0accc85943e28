#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each setting end to end: what the kernel was told, what the container feels, what the file keeps; online and at start."""
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import vzctl, vzlist

MIB = 1 << 20


def cgroup_value(ctid, *names):
    """Content of the first of these files (v2 or v1 names) in the directory that carries the limits."""
    for name in names:
        for path in vzhost.cgroups(ctid, f"ct/{name}"):
            return path.read_text().strip()
    raise AssertionError(f"none of {names} for {ctid}")


class Resources(vzhost.HostTest):
    def ram(self, ctid):
        return int(cgroup_value(ctid, "memory.max", "memory.limit_in_bytes"))

    def swap_total(self, ctid):
        """RAM+swap in bytes, however this host counts."""
        v1 = vzhost.cgroups(ctid, "ct/memory.memsw.limit_in_bytes")
        return int(v1[0].read_text()) if v1 else self.ram(ctid) + int(cgroup_value(ctid, "memory.swap.max"))

    def test_ram_and_swap(self):
        vzhost.need("cgroup.memory")
        ctid = self.start("--ram", "64M", "--swap", "32M")
        self.assertEqual(self.ram(ctid), 64 * MIB)
        self.assertEqual(self.swap_total(ctid), 96 * MIB)
        for ram, swap in ((128, 0), (32, 16), (256, 256), (64, 32)):
            with self.subTest(ram=ram, swap=swap):
                done = vzctl("set", ctid, "--ram", f"{ram}M", "--swap", f"{swap}M", "--save", check=0)
                self.assertIn("UB limits were set successfully", done.out)
                self.assertEqual(self.ram(ctid), ram * MIB)
                self.assertEqual(self.swap_total(ctid), (ram + swap) * MIB)
        vzctl("restart", ctid, check=0)
        self.assertEqual(self.ram(ctid), 64 * MIB)

    def test_ram_cut_below_use_is_refused_and_nothing_changes(self):
        vzhost.need("cgroup.memory")
        ctid = self.start("--ram", "128M", "--swap", "0")
        self.inside(ctid, "mkdir -p /m && mount -t tmpfs -o size=80m none /m && dd if=/dev/zero of=/m/x bs=1M count=64")
        refused = vzctl("set", ctid, "--ram", "16M", "--swap", "0", "--save")
        self.assertNotEqual(refused.rc, 0)
        self.assertEqual(self.ram(ctid), 128 * MIB)
        self.assertIn("running", self.status(ctid))
        self.assertEqual(self.inside(ctid, "du -k /m/x | cut -f1").strip(), str(64 * 1024))
        self.assertIn("128M", pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text())

    def test_swap_needs_ram_partner(self):
        pathlib.Path("/etc/vz/conf/ve-nolimit.conf-sample").write_text('ONBOOT="no"\n')
        ctid = self.create("--config", "nolimit")
        self.assertRc(vzctl("set", ctid, "--ram", "64M", "--save"), 28)
        vzctl("set", ctid, "--ram", "64M", "--swap", "0", "--save", check=0)

    def test_ram_larger_than_host_and_swap_without_device(self):
        ctid = self.create()
        big = vzctl("set", ctid, "--ram", "1T", "--swap", "1G", "--save", check=0)
        started = vzctl("start", ctid, check=0)
        said = big.err + started.err + big.out + started.out
        self.assertRegex(said, r"(?i)host")
        if not pathlib.Path("/proc/swaps").read_text().count("\n") > 1:
            self.assertRegex(said, r"(?i)no swap")

    def test_numproc(self):
        vzhost.need("cgroup.pids")
        ctid = self.start("--numproc", "40")
        self.assertEqual(cgroup_value(ctid, "pids.max"), "40")
        vzctl("set", ctid, "--numproc", "60:60", "--save", check=0)
        self.assertEqual(cgroup_value(ctid, "pids.max"), "60")

    def test_cpu(self):
        vzhost.need("cgroup.cpu")
        ctid = self.start("--cpulimit", "25", "--cpuunits", "2000")
        before = cgroup_value(ctid, "cpu.max", "cpu.cfs_quota_us")
        vzctl("set", ctid, "--cpulimit", "50", "--save", check=0)
        after = cgroup_value(ctid, "cpu.max", "cpu.cfs_quota_us")
        self.assertEqual(int(after.split()[0]), 2 * int(before.split()[0]))
        vzctl("set", ctid, "--cpulimit", "0", "--save", check=0)
        self.assertIn(cgroup_value(ctid, "cpu.max", "cpu.cfs_quota_us").split()[0], ("max", "-1"))

    def test_cpulimit_is_felt(self):
        vzhost.need("cgroup.cpu")
        ctid = self.start("--cpulimit", "20")
        self.inside(ctid, "while :; do :; done >/dev/null 2>&1 & echo")
        import time
        def used():
            text = cgroup_value(ctid, "cpu.stat") if not self.cpuacct(ctid) else None
            return self.cpuacct(ctid) or int(re.search(r"usage_usec (\d+)", text).group(1)) * 1000
        first, t0 = used(), time.monotonic()
        vzhost.wait_for(lambda: time.monotonic() - t0 > 2.0, what="two seconds of running")
        share = (used() - first) / ((time.monotonic() - t0) * 1e9)
        self.assertLess(share, 0.30)
        self.assertGreater(share, 0.10)

    @staticmethod
    def cpuacct(ctid):
        for path in vzhost.cgroups(ctid, "ct/cpuacct.usage"):
            return int(path.read_text())
        return None

    def test_cpumask(self):
        vzhost.need("cgroup.cpuset")
        ctid = self.start("--cpumask", "0")
        self.assertEqual(self.inside(ctid, "grep Cpus_allowed_list /proc/self/status").split()[1], "0")
        vzctl("set", ctid, "--cpumask", "all", "--save", check=0)
        self.assertNotEqual(self.inside(ctid, "grep Cpus_allowed_list /proc/self/status").split()[1], "")
        absent = vzctl("set", ctid, "--cpumask", "4095", "--save")
        self.assertNotEqual(absent.rc, 0)
        self.assertIn("this host has CPUs", absent.err)

    def test_io(self):
        vzhost.need("cgroup.io")
        ctid = self.start("--iolimit", "10M", "--iopslimit", "500")
        text = cgroup_value(ctid, "io.max", "blkio.throttle.read_bps_device")
        self.assertIn(str(10 * MIB), text)
        vzctl("set", ctid, "--iolimit", "0", "--iopslimit", "0", "--save", check=0)
        self.assertNotIn(str(10 * MIB), cgroup_value(ctid, "io.max", "blkio.throttle.read_bps_device"))

    def test_dry_run_changes_nothing(self):
        ctid = self.start("--ram", "64M", "--swap", "0")
        dry = vzctl("set", ctid, "--ram", "96M", "--swap", "0", "--save", "--dry-run", check=0)
        self.assertIn("PHYSPAGES", dry.out)
        self.assertEqual(self.ram(ctid), 64 * MIB)
        self.assertNotIn("96M", pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text())
        as_json = vzctl("set", ctid, "--ram", "96M", "--swap", "0", "--dry-run", "--json", check=0).json()
        self.assertTrue(any(str(96 * MIB) in str(c) for c in as_json["changes"]), as_json)


class Disk(vzhost.HostTest):
    def size_kib(self, ctid):
        return int(self.inside(ctid, "df -k / | tail -n 1").split()[1])

    def test_limit_is_exact_and_grows_online(self):
        ctid = self.start(diskspace="64M")
        full = vzctl("exec2", ctid, "dd if=/dev/zero of=/fill bs=1M count=200")
        self.assertNotEqual(full.rc, 0)
        self.assertLessEqual(self.size_kib(ctid), 64 * 1024)
        vzhost.need("cap.sys_resource")  # EXT4_IOC_RESIZE_FS; the lab has it
        before = self.size_kib(ctid)
        vzctl("set", ctid, "--diskspace", "128M", "--save", check=0)
        self.assertGreater(self.size_kib(ctid), before + 50 * 1024)
        self.inside(ctid, "dd if=/dev/zero of=/fill2 bs=1M count=40")
        vzctl("restart", ctid, check=0)
        self.assertGreater(self.size_kib(ctid), before + 50 * 1024)
        shrink = vzctl("set", ctid, "--diskspace", "64M", "--save")
        self.assertNotEqual(shrink.rc, 0)
        self.assertGreater(self.size_kib(ctid), before + 50 * 1024)

    def test_diskinodes(self):
        ctid = self.start("--diskinodes", "2048")
        inodes = int(self.inside(ctid, "df -i / | tail -n 1").split()[1])
        self.assertLessEqual(inodes, 2100)
        many = vzctl("exec2", ctid, "mkdir /d && cd /d && i=0; while [ $i -lt 3000 ]; do : > $i || exit 9; i=$((i+1)); done")
        self.assertNotEqual(many.rc, 0)

    def test_sparse_on_the_host(self):
        ctid = self.create(diskspace="1G")
        image = pathlib.Path(f"/var/lib/vz/private/{ctid}/root.img")
        self.assertEqual(image.stat().st_size, 1 << 30)
        self.assertLess(image.stat().st_blocks * 512, 128 << 20)

    def test_dir_layout_refuses_a_disk_limit(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        args = ("create", ctid, "--ostemplate", vzhost.busybox_template(), "--layout", "simfs")
        if not vzhost.feature("fs.project_quota")["present"]:
            refused = vzctl(*args, "--diskspace", "64M")
            self.assertNotEqual(refused.rc, 0)
            self.assertRegex(refused.err, r"(?i)quota")
            self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted")
        sample = pathlib.Path("/etc/vz/conf/ve-nolimit.conf-sample")
        sample.write_text('ONBOOT="no"\n')
        vzctl(*args, "--config", "nolimit", check=0)
        vzctl("start", ctid, check=0)
        owner = pathlib.Path(f"/var/lib/vz/private/{ctid}/fs").stat().st_uid
        self.assertGreaterEqual(owner, 1879048192)
        self.assertEqual(self.inside(ctid, "stat -c %u /").strip(), "0")

    def test_mount_opts(self):
        ctid = self.create("--mount_opts", "noatime")
        vzctl("start", ctid, check=0)
        self.assertIn("noatime", self.inside(ctid, "grep ' / ' /proc/mounts"))
        self.assertRc(vzctl("set", ctid, "--mount_opts", "init=/bin/sh", "--save"), 21)
        self.assertIn('MOUNT_OPTS="noatime"', pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text())


class Access(vzhost.HostTest):
    def test_devnodes_online(self):
        ctid = self.start()
        self.assertNotEqual(vzctl("exec2", ctid, "test -e /dev/kmsg").rc, 0)
        vzctl("set", ctid, "--devnodes", "kmsg:r", "--save", check=0)
        self.assertEqual(self.inside(ctid, "test -c /dev/kmsg && echo there").strip(), "there")
        vzctl("restart", ctid, check=0)
        self.assertEqual(self.inside(ctid, "test -c /dev/kmsg && echo there").strip(), "there")
        vzctl("set", ctid, "--devnodes", "kmsg:none", "--save", check=0)
        self.assertNotEqual(vzctl("exec2", ctid, "test -c /dev/kmsg").rc, 0)
        self.assertNotEqual(vzctl("set", ctid, "--devnodes", "nosuchdev:rw", "--save").rc, 0)
        self.assertNotEqual(vzctl("set", ctid, "--devices", "b:7:0:rw", "--save").rc, 0)

    def test_features(self):
        ctid = self.create("--features", "tun:on,fuse:on,nesting:on")
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "test -c /dev/net/tun -a -c /dev/fuse && echo both").strip(), "both")
        self.inside(ctid, "unshare -u true")
        changed = vzctl("set", ctid, "--features", "tun:off", "--save")
        self.assertIn("--setmode", changed.err)
        vzctl("set", ctid, "--features", "tun:off,fuse:off,nesting:off", "--save", "--setmode", "restart", check=0)
        self.assertNotEqual(vzctl("exec2", ctid, "test -c /dev/net/tun").rc, 0)
        self.assertNotEqual(vzctl("exec2", ctid, "unshare -u true").rc, 0)

    def test_capability(self):
        ctid = self.create("--capability", "net_raw:off,chown:off")
        vzctl("start", ctid, check=0)
        self.assertNotEqual(vzctl("exec2", ctid, "touch /x; chown 1 /x").rc, 0)
        ignored = vzctl("set", ctid, "--capability", "chown:on", "--save", "--setmode", "ignore")
        self.assertRc(ignored, 32)

    def test_userpasswd(self):
        ctid = self.create(template=vzhost.debian_template(), diskspace="1G")
        for _ in range(2):  # stopped, then running
            vzctl("set", ctid, "--userpasswd", "root:sesame", "--save", check=0)
            vzctl("start", ctid)
            self.assertRegex(self.inside(ctid, "grep ^root: /etc/shadow"), r"^root:\$[0-9a-z]+\$")
        self.assertNotIn("sesame", pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text())
        self.assertRc(vzctl("set", ctid, "--userpasswd", "nosuchuser:x", "--save"), 74)

    def test_not_enforced_is_said_and_refused_live(self):
        ctid = self.start()
        live = vzctl("set", ctid, "--kmemsize", "10M:11M")
        self.assertRc(live, 171)
        self.assertIn("kmemsize", live.err)
        vzctl("stop", ctid, "--fast", check=0)
        kept = vzctl("set", ctid, "--kmemsize", "10M:11M", "--save", check=0)
        self.assertRegex(kept.err, r"not enforced")
        self.assertIn("KMEMSIZE", pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text())


class Files(vzhost.HostTest):
    def test_unknown_keys_comments_and_order_survive(self):
        ctid = self.create()
        path = pathlib.Path(f"/etc/vz/conf/{ctid}.conf")
        text = "# mine\nMY_OWN=\"1\"\n" + path.read_text() + "\n# tail\nOTHER='x y'\n"
        path.write_text(text)
        vzctl("set", ctid, "--description", "hello", "--save", check=0)
        after = path.read_text()
        self.assertTrue(after.startswith("# mine\nMY_OWN=\"1\"\n"))
        self.assertIn("\n# tail\nOTHER='x y'\n", after)
        self.assertIn('DESCRIPTION="hello"', after)
        again = vzctl("set", ctid, "--description", "hello", "--save", check=0)
        self.assertIn("No changes in CT configuration, not saving", again.out)

    def test_stopped_without_save(self):
        ctid = self.create()
        self.assertRc(vzctl("set", ctid, "--cpuunits", "500"), 31)

    def test_running_without_save_warns(self):
        ctid = self.start()
        done = vzctl("set", ctid, "--cpuunits", "500", check=0)
        self.assertIn("WARNING: Settings were not saved", done.err)

    def test_garbage_config(self):
        for what, text in {"garbage": "\x00\x01\x02=\xff\n%%%\nRAM", "long line": "X=\"" + "a" * (1 << 20) + "\"\n",
                           "unterminated": 'HOSTNAME="abc\nCPUUNITS="1000"\n', "bad value": 'CPUUNITS="many"\n',
                           "empty": ""}.items():
            with self.subTest(what=what):
                ctid = self.create()
                path = pathlib.Path(f"/etc/vz/conf/{ctid}.conf")
                path.write_bytes(text.encode("latin-1"))
                self.assertRc(vzctl("status", ctid), 0)
                self.assertEqual(vzlist("-a", "-H", "-octid", ctid, check=0).out.split(), [str(ctid)])
                self.assertIn(vzctl("start", ctid).rc, (0,), what)
                self.assertEqual(self.inside(ctid, "echo up").strip(), "up")

    def test_unreadable_config(self):
        ctid = self.create()
        path = pathlib.Path(f"/etc/vz/conf/{ctid}.conf")
        saved = path.read_bytes()
        path.unlink()
        path.mkdir()
        self.assertRc(vzctl("start", ctid), 14)
        self.assertRc(vzctl("status", ctid), 0)
        path.rmdir()
        path.write_bytes(saved)


if __name__ == "__main__":
    vzhost.main()

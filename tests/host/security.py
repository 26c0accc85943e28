#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Root in a container gains nothing on the host, and nothing planted in its tree leads host-side code out of it."""
import os
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import run, vzctl


class Inside(vzhost.HostTest):
    """What container root tries, each against a fresh container with default settings."""

    @classmethod
    def setUpClass(cls):
        cls.holder = cls("test_cannot")
        cls.ctid = cls.holder.start("--ram", "64M", "--swap", "0", "--numproc", "64")

    @classmethod
    def tearDownClass(cls):
        cls.holder.doCleanups()

    ATTEMPTS = {
        "mount a host device": "mknod /dev/hd b 254 0 && mount /dev/hd /mnt",
        "mknod a block device": "mknod /tmp/b b 7 0",
        "mknod a character device": "mknod /tmp/c c 1 1",
        "read kernel memory": "cat /proc/kcore | head -c 1 | grep -q .",
        "trigger sysrq": "test ! -c /proc/sysrq-trigger && echo h > /proc/sysrq-trigger",
        "write a global sysctl": "echo 1 > /proc/sys/kernel/panic",
        "write kernel.core_pattern": "echo '|/x' > /proc/sys/kernel/core_pattern",
        "write vm sysctls": "echo 0 > /proc/sys/vm/overcommit_memory",
        "write fs sysctls": "echo 1 > /proc/sys/fs/file-max",
        "write /sys": "echo 1 > /sys/kernel/mm/ksm/run",
        "remount /sys writable and write": "mount -o remount,rw /sys && echo 1 > /sys/kernel/profiling",
        "load a module": "insmod /bin/busybox",
        "see host processes": "test $(ls -d /proc/[0-9]* | wc -l) -gt 40",
        "set the clock": "date -s 2001-01-01; test $(date +%Y) = 2001",
        "raise its memory limit": "f=$(find /sys/fs/cgroup -name memory.max | head -n 1); test -n \"$f\" && echo max > $f",
        "raise its task limit": "mkdir -p /tmp/cg && mount -t cgroup -o pids none /tmp/cg && echo max > /tmp/cg/pids.max",
        "leave its cgroup": "echo 1 > /sys/fs/cgroup/../cgroup.procs",
        "make a new user namespace": "unshare -U true",
        "make a new uts namespace": "unshare -u true",
        "swap on": "dd if=/dev/zero of=/sw bs=1M count=1 && mkswap /sw && swapon /sw",
        "chroot out by pivot_root": "mkdir -p /mnt/old && pivot_root / /mnt/old && ls /mnt/old/work",
        "kill host processes by pid": "kill -9 $(( $(cat /proc/sys/kernel/pid_max) - 1 ))",
        "dmesg": "dmesg | grep -q .",
    }

    def test_cannot(self):
        for what, command in self.ATTEMPTS.items():
            with self.subTest(what=what):
                result = vzctl("exec2", self.ctid, command)
                self.assertNotEqual(result.rc, 0, f"container root could {what}\n{result}")

    def syscall(self, code):
        """Runs C code in the container; the test program is built statically on the host and piped in."""
        source = pathlib.Path(f"/run/vz/t-{os.getpid()}.c")
        binary = source.with_suffix(".bin")
        source.write_text("#define _GNU_SOURCE\n#include <errno.h>\n#include <sched.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
                          "#include <string.h>\n#include <fcntl.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n"
                          "#include <sys/ioctl.h>\n#include <sys/mount.h>\n#include <linux/bpf.h>\n"
                          "int main(void) {\n" + code + "\n}\n")
        run(["cc", "-static", "-o", binary, source], check=0)
        put = vzhost.subprocess.run([vzhost.BIN / "vzctl", "exec", str(self.ctid), "cat > /t && chmod 755 /t"],
                                    input=binary.read_bytes(), capture_output=True)
        self.assertEqual(put.returncode, 0, put.stderr)
        return vzctl("exec2", self.ctid, "/t")

    def test_system_calls(self):
        cases = {
            "bpf": ('union bpf_attr a; memset(&a,0,sizeof a); a.map_type=1; a.key_size=4; a.value_size=4; a.max_entries=1; '
                    'long r=syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a); return r>=0 ? 100 : errno;', {1, 38}),
            "init_module": ("long r=syscall(SYS_init_module,\"\",0,\"\"); return r==0 ? 100 : errno;", {1, 38}),
            "kexec_load": ("long r=syscall(SYS_kexec_load,0,0,0,0); return r==0 ? 100 : errno;", {1, 38}),
            "io_uring_setup": ("char p[256]={0}; long r=syscall(SYS_io_uring_setup,1,p); return r>=0 ? 100 : errno;", {38}),
            "clone3": ("long r=syscall(SYS_clone3,0,0); return r>=0 ? 100 : errno;", {38}),
            "unshare pid": ("return unshare(CLONE_NEWPID)==0 ? 100 : errno;", {1}),
            "unshare user": ("return unshare(CLONE_NEWUSER)==0 ? 100 : errno;", {1}),
            "unshare uts": ("return unshare(CLONE_NEWUTS)==0 ? 100 : errno;", {1}),
            "clone user": ("long r=syscall(SYS_clone,CLONE_NEWUSER|17,0,0,0,0); if(r==0) _exit(0); return r>0 ? 100 : errno;", {1}),
            "mount ns stays allowed": ("return unshare(CLONE_NEWNS)==0 ? 7 : errno;", {7}),
            "open_by_handle_at": ("char h[64]={0}; long r=syscall(SYS_open_by_handle_at,AT_FDCWD,h,0); return r>=0 ? 100 : errno;", {1, 38}),
            "32-bit entry": ("long r; __asm__ volatile(\"int $0x80\":\"=a\"(r):\"a\"(310),\"b\"(0x04000000)); return r==0 ? 100 : -r;", {1, 38}),
            "tty input injection": ("char c='x'; int f=open(\"/dev/tty\",O_RDWR); if(f<0) return 6; return ioctl(f,0x5412,&c)==0 ? 100 : errno;", {5, 6, 1}),
        }
        for what, (code, expected) in cases.items():
            with self.subTest(what=what):
                self.assertIn(self.syscall(code).rc, expected)

    def test_ids_on_the_host(self):
        """Every process of the container runs with ids of its private range."""
        vzctl("exec", self.ctid, "sleep 9 >/dev/null 2>&1 &")
        procs = [p for p in pathlib.Path("/proc").glob("[0-9]*")
                 if f"vz-{self.ctid}.scope" in self.read(p / "cgroup")]
        self.assertGreaterEqual(len(procs), 2)
        for p in procs:
            uids = re.search(r"Uid:\s+(\d+)\s+(\d+)", self.read(p / "status"))
            if uids:
                self.assertTrue(all(1879048192 <= int(u) < 2147483648 for u in uids.groups()), uids.group(0))

    @staticmethod
    def read(path):
        try:
            return path.read_text()
        except OSError:
            return ""

    def test_no_host_fds_leak(self):
        """No descriptor of init or of an exec'ed command leads to the host."""
        listing = self.inside(self.ctid, "ls -l /proc/1/fd /proc/self/fd")
        for line in listing.splitlines():
            if "->" in line:
                target = line.split("-> ")[1]
                self.assertRegex(target, r"^(/dev/|pipe:|/proc/|socket:|anon_inode:|/null)", line)

    def test_sysrq_kcore_masked(self):
        self.assertEqual(self.inside(self.ctid, "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c").strip(), "0")


class Limits(vzhost.HostTest):
    def test_fork_bomb_is_held(self):
        vzhost.need("cgroup.pids")
        ctid = self.start("--numproc", "50", "--ram", "128M", "--swap", "0")
        neighbour = self.start()
        # The shells of a bomb end when fork fails, so it may be over before anyone looks: what it reached is asked of
        # the beancounter, and each shell leaves a process behind so that the container is stopped with many in it.
        bomb = vzhost.subprocess.Popen(
            [vzhost.BIN / "vzctl", "exec", str(ctid), "f() { sleep 600 & f | f & }; f; sleep 600"],
            stdout=vzhost.subprocess.DEVNULL, stderr=vzhost.subprocess.DEVNULL)
        vzhost.wait_for(lambda: int(vzlist_number(ctid, "numproc.f")) > 0, what="a fork is refused")
        self.assertEqual(vzlist_number(ctid, "numproc.m"), "50")
        self.assertLessEqual(int(vzlist_number(ctid, "numproc")), 50)
        self.assertEqual(self.inside(neighbour, "echo fine").strip(), "fine")
        self.assertRc(vzctl("stop", ctid, "--fast"), 0)
        bomb.wait(30)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])

    def test_memory_eater_dies_alone(self):
        vzhost.need("cgroup.memory")
        ctid = self.start("--ram", "48M", "--swap", "0")
        neighbour = self.start("--ram", "48M", "--swap", "0")
        marker = self.inside(neighbour, "sleep 600 >/dev/null 2>&1 & echo $!").strip()
        eaten = vzctl("exec2", ctid, "dd if=/dev/zero of=/dev/null bs=200M count=1")
        self.assertNotEqual(eaten.rc, 0)
        self.assertIn("running", self.status(ctid))
        self.assertEqual(self.inside(ctid, "echo still here").strip(), "still here")
        self.inside(neighbour, f"kill -0 {marker}")


def vzlist_number(ctid, column):
    return vzhost.vzlist("-H", "-o", column, ctid, check=0).out.strip()


class PlantedSymlinks(vzhost.HostTest):
    """The tree is hostile: every name that host-side code uses is replaced by a link to a host file."""

    def victim(self):
        path = pathlib.Path(f"/run/vz/victim-{os.getpid()}")
        path.mkdir(exist_ok=True)
        (path / "hosts").write_text("untouched\n")
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def plant(self, ctid, link, target):
        vzctl("mount", ctid, check=0)
        place = pathlib.Path(f"/var/lib/vz/root/{ctid}{link}")
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.is_symlink() or place.exists():
            place.unlink()
        place.symlink_to(target)
        vzctl("umount", ctid, check=0)

    def test_links_never_lead_out(self):
        victim = self.victim()
        for link, target in [("/etc/hosts", victim / "hosts"), ("/etc/hostname", victim / "hosts"),
                             ("/etc/resolv.conf", "../../../../../.." + str(victim / "hosts")), ("/etc", victim),
                             ("/dev", "/dev"), ("/dev", victim), ("/proc", "/proc"), ("/proc", victim), ("/sys", victim),
                             ("/run", victim), ("/etc/hosts", "/proc/1/root" + str(victim / "hosts"))]:
            with self.subTest(link=link, target=str(target)):
                ctid = self.create("--hostname", "h.example", "--nameserver", "192.0.2.1")
                self.plant(ctid, link, target)
                started = vzctl("start", ctid)
                self.assertLess(started.rc, 128, "killed by a signal\n" + repr(started))
                self.assertEqual(sorted(os.listdir(victim)), ["hosts"])
                self.assertEqual((victim / "hosts").read_text(), "untouched\n")
                if started.rc == 0:
                    vzctl("set", ctid, "--hostname", "other.example", "--nameserver", "192.0.2.2", "--save")
                    vzctl("set", ctid, "--userpasswd", "root:x1", "--save")
                    vzctl("exec", ctid, "true")
                    self.assertEqual((victim / "hosts").read_text(), "untouched\n")
                    self.assertEqual(sorted(os.listdir(victim)), ["hosts"])
                vzctl("stop", ctid, "--fast", check=0)
                vzctl("destroy", ctid, check=0)
                self.assertEqual((victim / "hosts").read_text(), "untouched\n")

    def test_planted_while_running(self):
        victim = self.victim()
        ctid = self.start()
        self.inside(ctid, f"rm -f /etc/hosts /etc/resolv.conf; ln -s {victim}/hosts /etc/hosts; "
                          f"ln -s {victim}/hosts /etc/resolv.conf; mkdir -p {victim}; echo own > {victim}/hosts")
        vzctl("set", ctid, "--hostname", "r.example", "--nameserver", "192.0.2.3", "--save", check=0)
        self.assertEqual((victim / "hosts").read_text(), "untouched\n")
        self.assertIn("192.0.2.3", self.inside(ctid, "cat /etc/resolv.conf"))
        self.assertEqual(self.inside(ctid, f"cat {victim}/hosts"), "own\n")

    def test_hanging_mount_over_etc_does_not_hang_vzctl(self):
        """The container mounts something over /etc: host-side writes go to the image, not into that mount."""
        ctid = self.start()
        self.inside(ctid, "mount -t tmpfs none /etc")
        vzctl("set", ctid, "--nameserver", "192.0.2.4", "--save", check=0, timeout=30)
        vzctl("stop", ctid, "--fast", check=0)
        vzctl("start", ctid, check=0)
        self.assertIn("192.0.2.4", self.inside(ctid, "cat /etc/resolv.conf"))


if __name__ == "__main__":
    vzhost.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""OS templates: archives that try to do harm, damaged ones, builds that are killed, progress on a terminal."""
import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from terminal import Terminal
from vzhost import run, vzctl, vztmpl

CACHE = pathlib.Path("/var/lib/vz/template/cache")  # of this namespace, not the shared one


class TemplateTest(vzhost.HostTest):
    """TEMPLATE is a directory of this test; it holds a copy of the busybox template."""

    @classmethod
    def setUpClass(cls):
        good = vzhost.TEMPLATES / "cache" / f"{vzhost.busybox_template()}.tar.zst"
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.copy(good, CACHE)
        cls.vz_conf = pathlib.Path("/etc/vz/vz.conf")
        cls.saved = cls.vz_conf.read_text()
        cls.vz_conf.write_text(cls.saved + f'TEMPLATE="{CACHE.parent}"\n')

    @classmethod
    def tearDownClass(cls):
        cls.vz_conf.write_text(cls.saved)


class Hostile(TemplateTest):
    def outside(self, canary):
        """What an archive must not change on the host."""
        watched = [canary, canary.parent, pathlib.Path("/etc"), pathlib.Path("/etc/shadow"), pathlib.Path("/etc/passwd")]
        return ([(p, p.stat().st_mtime_ns, p.stat().st_nlink, p.stat().st_mode) for p in watched], canary.read_text(),
                sorted(os.listdir(canary.parent)))

    def test_every_archive_in_both_layouts(self):
        canary = pathlib.Path(f"/var/lib/vz/canary-{os.getpid()}/file")
        canary.parent.mkdir()
        canary.write_text("alive\n")
        made = run([sys.executable, vzhost.SOURCE / "tests/support/make_hostile_archives.py", CACHE / "busybox.tar.zst", CACHE, canary],
                   check=0, timeout=120)
        sample = pathlib.Path("/etc/vz/conf/ve-none.conf-sample")
        sample.write_text("")
        before = self.outside(canary)
        cases = []
        for line in made.out.splitlines():
            name, expected = line.split()
            # A directory has no size to be too small.
            cases += [(name.split(".")[0], layout, expected, self.new_id(), name) for layout in ("image", "dir")
                      if not (layout == "dir" and expected == "46")]
            if "." in name:  # truncated.tar, truncated.tar.zst…: names must differ without their endings
                stem, ending = name.split(".", 1)
                (CACHE / name).rename(CACHE / f"{stem}-{ending.replace('.', '-')}.{ending}")
        cases = [(f"{stem}-{name.split('.', 1)[1].replace('.', '-')}" if "." in name else stem, layout, expected, ctid)
                 for stem, layout, expected, ctid, name in cases]

        def create(case):
            name, layout, _, ctid = case
            disk = ["--diskspace", "48M", "--diskinodes", "8192"] if layout == "image" else ["--config", "none"]
            return case, vzctl("create", ctid, "--ostemplate", name, "--layout", layout, *disk)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for (name, layout, expected, ctid), result in pool.map(create, cases):
                self.addCleanup(self.wipe, ctid)
                with self.subTest(archive=name, layout=layout):
                    self.assertRc(result, 0 if expected == "ok" else int(expected))
                    if expected != "ok":
                        self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted")
                        self.assertIn(name, result.err)
                        self.assertFalse(list(pathlib.Path("/var/lib/vz/private").glob(f"{ctid}*")))
                    self.assertEqual(self.outside(canary), before, name)
                    if expected == "ok" and name in ("devices", "setuid", "hardlink_shadow"):
                        self.look_inside(name, ctid)

    def look_inside(self, name, ctid):
        vzctl("start", ctid, check=0)
        if name == "devices":
            self.assertNotEqual(vzctl("exec2", ctid, "test -e /dev/sda -o -c /root/mem").rc, 0)
        if name == "hardlink_shadow":
            host = pathlib.Path("/etc/shadow").read_text().split("\n")[0]
            self.assertNotIn(host, self.inside(ctid, "cat /shadow") if host else "")

    def test_missing_and_odd(self):
        ctid = self.new_id()
        (CACHE / "fifo.tar").exists() or os.mkfifo(CACHE / "fifo.tar")
        (CACHE / "dir.tar").mkdir(exist_ok=True)
        for name, rc in (("nosuch", 91), ("", None), (".", 21), ("..", 21), ("a/b", 21), ("fifo", 47), ("dir", 47)):
            with self.subTest(name=name):
                result = vzctl("create", ctid, "--ostemplate", name, "--diskspace", "32M", timeout=30)
                self.assertTrue(0 < result.rc < 128 and (rc is None or result.rc == rc), repr(result))
                self.assertEqual(vzctl("status", ctid).out.split()[2], "deleted")
        (CACHE / "fifo.tar").unlink()
        (CACHE / "dir.tar").rmdir()

    def test_archive_that_is_replaced_or_removed_while_unpacking(self):
        shutil.copy(CACHE / "busybox.tar.zst", CACHE / "going.tar.zst")
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        trace = pathlib.Path("/run/vz/trace")
        trace.unlink(missing_ok=True)
        create = subprocess.Popen([vzhost.BIN / "vzctl", "create", str(ctid), "--ostemplate", "going", "--diskspace", "32M"],
                                  env={**os.environ, "VZ_FAULT_TRACE": str(trace)}, stdout=subprocess.DEVNULL)
        vzhost.wait_for(lambda: trace.exists() and "create.unpack" in trace.read_text(), what="unpacking")
        (CACHE / "going.tar.zst").unlink()
        self.assertIn(create.wait(60), (0, 47, 91))


class Lists(TemplateTest):
    def test_list_and_delete(self):
        shutil.copy(CACHE / "busybox.tar.zst", CACHE / "mine-1.0_amd64.tar.zst")
        (CACHE / "not-a-template.txt").write_text("x")
        (CACHE / ".hidden.tar").write_text("x")
        rows = {row["name"]: row for row in vztmpl("list", "--json", check=0).json()}
        self.assertIn("mine-1.0_amd64", rows)
        self.assertEqual(rows["busybox"]["bytes"], (CACHE / "busybox.tar.zst").stat().st_size)
        self.assertNotIn("not-a-template", rows)
        self.assertNotIn(".hidden", rows)
        self.assertEqual([w for w in vztmpl("list", "-H").out.split() if w == "mine-1.0_amd64"], ["mine-1.0_amd64"])
        vztmpl("delete", "mine-1.0_amd64", check=0)
        self.assertFalse((CACHE / "mine-1.0_amd64.tar.zst").exists())
        for name, rc in (("mine-1.0_amd64", 91), ("../../../etc/passwd", 21), ("", 21), (".hidden", 21)):
            self.assertRc(vztmpl("delete", name), rc)
        self.assertTrue((CACHE / ".hidden.tar").exists())

    def test_words(self):
        for args, rc in ((["frob"], 20), (["build"], 20), (["build", "nosuch"], 21), (["build", "a", "b"], 20), ([], 20),
                         (["build", "busybox", "--include", "vim"], 21), (["list", "--format", "xml"], 20),
                         (["build", "debian-13-amd64", "--mirror", "-x"], None), (["--frob"], 20),
                         (["build", "debian-13-amd64", "--include", "--option"], None),
                         (["build", "debian-13-amd64", "--include", "vim;reboot"], 21)):
            with self.subTest(args=args):
                result = vztmpl(*args, timeout=20)
                self.assertTrue(result.rc == rc if rc else 0 < result.rc < 128, repr(result))
                self.assertNotEqual(result.err, "")


class Builds(TemplateTest):
    def work(self):
        return [p.name for p in CACHE.iterdir() if p.name.startswith(".build") or p.name.startswith(".vz")]

    def test_killed_at_each_step_the_old_one_stays_whole(self):
        good = (CACHE / "busybox.tar.zst").read_bytes()
        for step in ("template.build", "template.verify", "template.publish"):
            with self.subTest(step=step):
                self.assertRc(vztmpl("build", "busybox", env={"VZ_FAULT": step}), -signal.SIGKILL)
                self.assertEqual((CACHE / "busybox.tar.zst").read_bytes(), good)
                self.assertEqual([r["name"] for r in vztmpl("list", "-j").json()].count("busybox"), 1)
        vztmpl("build", "busybox", check=0)
        self.assertEqual(self.work(), [])
        run(["sha256sum", "-c", CACHE / "busybox.sha256"], check=None)
        ctid = self.create(diskspace="32M")
        vzctl("start", ctid, check=0)

    def test_interrupted_build_leaves_nothing(self):
        """A mirror that accepts and never answers: Ctrl-C ends mmdebstrap and all its children, the work directory goes."""
        import socket
        silent = socket.socket()
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/debian"
        build = subprocess.Popen([vzhost.BIN / "vztmpl", "build", "debian-13-amd64", "--mirror", mirror], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env={k: v for k, v in os.environ.items() if "proxy" not in k.lower()})
        silent.settimeout(60)
        try:
            silent.accept()
        except TimeoutError:
            build.kill()
            self.skipTest("mmdebstrap did not ask the mirror")
        build.send_signal(signal.SIGINT)
        out, err = build.communicate(timeout=60)
        self.assertNotEqual(build.returncode, 0, err)
        self.assertIn("Cancelling...", err)
        self.assertEqual(self.work(), [])
        self.assertFalse((CACHE / "debian-13-amd64.tar.zst").exists())
        self.assertNotIn(".build-debian", pathlib.Path("/proc/self/mountinfo").read_text())

    def test_no_room(self):
        small = pathlib.Path(f"/var/lib/vz/small-{os.getpid()}")
        small.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=0)
        self.addCleanup(run, ["umount", "-l", small])
        text = self.vz_conf.read_text()
        self.vz_conf.write_text(text + f'TEMPLATE="{small}"\n')
        try:
            result = vztmpl("build", "busybox")
        finally:
            self.vz_conf.write_text(text)
        self.assertNotEqual(result.rc, 0)
        self.assertIn("No space left", result.err)
        self.assertEqual([p.name for p in (small / "cache").iterdir() if not p.name.startswith(".lock")], [])


class Progress(TemplateTest):
    """A bar on a terminal, none in a pipe."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run(["zstd", "-dqf", CACHE / "busybox.tar.zst", "-o", CACHE / "big.tar"], check=0)
        with open(CACHE / "filler", "wb") as f:
            f.truncate(300 << 20)
        run(["tar", "-C", CACHE, "--append", "-f", CACHE / "big.tar", "filler"], check=0)
        (CACHE / "filler").unlink()

    def test_create_on_a_terminal(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        with Terminal([vzhost.BIN / "vzctl", "create", ctid, "--ostemplate", "big", "--diskspace", "1G"], env={"NO_COLOR": "1"}) as tty:
            self.assertEqual(tty.wait(60), 0, tty.screen)
        self.assertRegex(tty.screen, r"\r *unpack \[#*\.*\] +\d+%")
        self.assertRegex(tty.screen, r"\x1b\[K[^\r]*Performing postcreate", "the bar is cleared before the next line")
        self.assertNotRegex(tty.screen, r"\x1b\[\d+m", "NO_COLOR")

    def test_narrow_terminal_and_pipe(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        with Terminal([vzhost.BIN / "vzctl", "create", ctid, "--ostemplate", "big", "--diskspace", "1G"], cols=24) as tty:
            self.assertEqual(tty.wait(60), 0, tty.screen)
        for bar in [part for part in tty.screen.split("\r") if "%" in part]:
            self.assertLessEqual(len(bar.replace("\x1b[K", "").rstrip("\n")), 24, repr(bar))
        piped = vzctl("create", self.new_id(), "--ostemplate", "busybox", "--diskspace", "16M", check=0)
        self.assertNotIn("\r", piped.err + piped.out)
        self.assertNotIn("%", piped.err)


if __name__ == "__main__":
    vzhost.main()

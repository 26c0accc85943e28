#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a container: create, start, exec, stop, destroy; messages, states and exit codes of the dialect."""
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import vzctl, vzlist


class Life(vzhost.HostTest):
    def test_whole_life(self):
        ctid = self.new_id()
        self.addCleanup(self.wipe, ctid)
        self.assertEqual(vzctl("status", ctid, check=0).out, f"CTID {ctid} deleted unmounted down\n")
        made = vzctl("create", ctid, "--ostemplate", vzhost.busybox_template(), "--diskspace", "64M", check=0)
        self.assertIn("Creating container private area (busybox)", made.out)
        self.assertIn("Container private area was created", made.out)
        self.assertEqual(vzctl("status", ctid).out, f"CTID {ctid} exist unmounted down\n")
        started = vzctl("start", ctid, check=0)
        self.assertIn("Starting container...", started.out)
        self.assertIn("Container is mounted", started.out)
        self.assertIn("Container start in progress...", started.out)
        self.assertEqual(vzctl("status", ctid).out, f"CTID {ctid} exist mounted running\n")
        self.assertRc(vzctl("start", ctid), 32)
        self.assertRc(vzctl("destroy", ctid), 32)
        self.assertRc(vzctl("umount", ctid), 32)
        self.assertIn(str(ctid), vzlist("-H", "-octid", check=0).out)
        stopped = vzctl("stop", ctid, check=0)
        self.assertIn("Container was stopped", stopped.out)
        self.assertIn("Container is unmounted", stopped.out)
        self.assertEqual(vzctl("status", ctid).out, f"CTID {ctid} exist unmounted down\n")
        again = vzctl("stop", ctid)
        self.assertRc(again, 0)
        self.assertIn("Unable to stop: container is not running", again.err)
        gone = vzctl("destroy", ctid, check=0)
        self.assertIn("Container private area was destroyed", gone.out)
        self.assertTrue(pathlib.Path(f"/etc/vz/conf/{ctid}.conf.destroyed").exists())
        self.assertRc(vzctl("start", ctid), 14)

    def test_restart_gives_new_init(self):
        ctid = self.start()
        before = self.inside(ctid, "cat /proc/uptime; cat /proc/sys/kernel/random/uuid")
        self.inside(ctid, "touch /kept; touch /run/lost")
        vzctl("restart", ctid, check=0)
        self.assertEqual(self.inside(ctid, "ls /kept; ls /run/lost 2>/dev/null || echo gone").split(), ["/kept", "gone"])
        self.assertNotEqual(before, "")

    def test_init_is_pid_1_and_unprivileged_on_the_host(self):
        ctid = self.start()
        info = vzlist("-j", ctid, check=0).json()[0]
        pid = int(vzhost.run(["pgrep", "-f", "-n", "^(/sbin/)?init"]).out or 0)
        self.assertEqual(self.inside(ctid, "id -u").strip(), "0")
        self.assertEqual(self.inside(ctid, "readlink /proc/1/exe || cat /proc/1/comm").strip() != "", True)
        self.assertEqual(info["status"], "running")
        if pid:
            uid = int(re.search(r"Uid:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))
            self.assertGreaterEqual(uid, 1879048192)

    def test_self_poweroff_leaves_a_clean_host(self):
        """Nobody runs vzctl: vzd and the kernel take everything away."""
        ctid = self.start("--ipadd", "198.18.9.1")
        vzctl("exec", ctid, "poweroff")

        def clean():
            links = vzhost.run(["ip", "-o", "link"]).out
            return (f"vz{ctid}" not in links and not vzhost.cgroups(ctid)
                    and not pathlib.Path(f"/run/vz/{ctid}").exists()
                    and f"/private/{ctid}" not in vzhost.run(["losetup", "-a"]).out)
        vzhost.wait_for(clean, what="clean host after poweroff inside")
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])
        vzctl("start", ctid, check=0)

    def test_self_reboot_restarts(self):
        ctid = self.start()
        first = vzlist("-H", "-o", "uptime", ctid, check=0).out
        marker = self.inside(ctid, "cat /proc/sys/kernel/random/uuid > /run/marker; cat /run/marker").strip()
        self.assertTrue(marker and first)
        vzctl("exec", ctid, "reboot")
        vzhost.wait_for(lambda: vzctl("exec2", ctid, "test ! -e /run/marker").rc == 0, what="a fresh /run after reboot")
        self.assertIn("running", self.status(ctid))

    def test_init_that_dies_at_once(self):
        ctid = self.create()
        self.plant(ctid, "sbin/init", "#!/bin/sh\nexit 3\n")
        vzctl("start", ctid)
        vzhost.wait_for(lambda: "down" in self.status(ctid), what="container down")
        vzctl("stop", ctid, check=0)
        self.assertRc(vzctl("destroy", ctid), 0)

    def test_no_init_is_a_bad_template(self):
        ctid = self.create()
        self.plant(ctid, "sbin/init", None)
        result = vzctl("start", ctid)
        self.assertRc(result, 47)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])

    def test_init_that_ignores_everything_is_killed(self):
        ctid = self.create()
        self.plant(ctid, "sbin/init", "#!/bin/sh\ntrap '' TERM INT HUP USR1 USR2 PWR\nwhile :; do sleep 1000; done\n")
        self.plant(ctid, "sbin/halt", "#!/bin/sh\nexit 0\n")
        self.plant(ctid, "bin/halt", "#!/bin/sh\nexit 0\n")
        vzctl("start", ctid, check=0)
        began = time.monotonic()
        stopped = vzctl("stop", ctid, "--stop-timeout", "2", check=0)
        self.assertIn("Killing container ...", stopped.out)
        self.assertLess(time.monotonic() - began, 60)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])

    def plant(self, ctid, path, text):
        """Replaces (text None: removes) a file in a stopped container's tree, through `vzctl mount`."""
        vzctl("mount", ctid, check=0)
        target = pathlib.Path(f"/var/lib/vz/root/{ctid}") / path
        if target.is_symlink() or target.exists():
            target.unlink()
        if text is not None:
            target.write_text(text)
            target.chmod(0o755)
        vzctl("umount", ctid, check=0)

    def test_mount_and_umount(self):
        ctid = self.create()
        self.assertRc(vzctl("umount", ctid), 40)
        vzctl("mount", ctid, check=0)
        self.assertEqual(self.status(ctid), ["exist", "mounted", "down"])
        self.assertTrue(os.path.exists(f"/var/lib/vz/root/{ctid}/bin/busybox"))
        twice = vzctl("mount", ctid)
        self.assertRc(twice, 0)
        self.assertIn("Container is already mounted", twice.err)
        self.assertRc(vzctl("destroy", ctid), 41)
        vzctl("umount", ctid, check=0)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])

    def test_disabled(self):
        ctid = self.create("--disabled", "yes")
        refused = vzctl("start", ctid)
        self.assertRc(refused, 105)
        self.assertIn("Container start disabled", refused.err)
        vzctl("start", ctid, "--force", check=0)

    def test_names(self):
        name = f"web-{os.getpid()}"
        ctid = self.create("--name", name)
        self.assertIn("exist", vzctl("status", name, check=0).out)
        other = self.create()
        self.assertRc(vzctl("set", other, "--name", name, "--save"), 131)
        vzctl("set", ctid, "--name", name + "2", "--save", check=0)
        self.assertRc(vzctl("start", name), 21)
        vzctl("set", other, "--name", name, "--save", check=0)
        self.assertIn(str(other), vzctl("status", name, check=0).out)


class Exec(vzhost.HostTest):
    def test_exit_statuses(self):
        ctid = self.start()
        self.assertRc(vzctl("exec", ctid, "exit 5"), 8)
        self.assertRc(vzctl("exec2", ctid, "exit 5"), 5)
        self.assertRc(vzctl("exec3", ctid, "/bin/sh", "-c", "exit 6"), 6)
        self.assertRc(vzctl("exec", ctid, "true"), 0)
        self.assertRc(vzctl("exec", ctid), 20)

    def test_words_and_shell(self):
        ctid = self.start()
        self.assertEqual(vzctl("exec", ctid, "echo", "a  b", "|", "tr", "a", "c").out, "c b\n")
        self.assertEqual(vzctl("exec3", ctid, "echo", "a  b", "|").out, "a  b |\n")

    def test_stdin_and_separation(self):
        ctid = self.start()
        result = vzctl("exec", ctid, "cat; echo err >&2", stdin="data\n")
        self.assertEqual((result.out, result.err), ("data\n", "err\n"))
        self.assertEqual(vzctl("exec", ctid, "-", stdin="echo from; echo script\n").out, "from\nscript\n")

    def test_large_output_is_whole(self):
        ctid = self.start()
        data = os.urandom(3 << 20)
        done = vzhost.subprocess.run([vzhost.BIN / "vzctl", "exec", str(ctid), "cat"], input=data, capture_output=True)
        self.assertEqual(done.stdout == data, True)

    def test_not_running(self):
        ctid = self.create()
        for command in ("exec", "exec2", "exec3", "enter"):
            self.assertRc(vzctl(command, ctid, *([] if command == "enter" else ["true"])), 31)

    def test_runscript_running_and_stopped(self):
        ctid = self.create()
        script = pathlib.Path(f"/run/vz/script-{ctid}")
        script.write_text("echo $(hostname) > /ran; cat /ran; exit 4\n")
        for _ in range(2):
            result = vzctl("runscript", ctid, script)
            self.assertRc(result, 4)
            vzctl("start", ctid)
        self.assertRc(vzctl("runscript", ctid, "/no/such/script"), 11)

    def test_kill_of_vzctl_exec_ends_the_command(self):
        ctid = self.start()
        runner = vzhost.subprocess.Popen([vzhost.BIN / "vzctl", "exec", str(ctid), "sleep 4711"])
        vzhost.wait_for(lambda: "4711" in self.inside(ctid, "ps"), what="sleep inside")
        runner.kill()
        runner.wait()
        vzhost.wait_for(lambda: "sleep 4711" not in self.inside(ctid, "ps | grep -v grep"), what="sleep gone")


class ActionScripts(vzhost.HostTest):
    def test_moments_order_and_environment(self):
        ctid = self.create()
        log = pathlib.Path(f"/run/vz/actions-{ctid}")
        conf = pathlib.Path("/etc/vz/conf")
        names = [f"{who}.{what}" for who in ("vps", str(ctid)) for what in ("premount", "mount", "umount", "postumount")]
        for name in names:
            script = conf / name
            script.write_text(f'#!/bin/sh\necho {name.replace(str(ctid), "ct")} $VEID >> {log}\n[ -f "$VE_CONFFILE" ]\n')
            script.chmod(0o755)
            self.addCleanup(script.unlink)
        for what in ("start", "stop"):
            script = conf / f"{ctid}.{what}"
            script.write_text(f"echo {what} on $(cat /proc/1/comm) >> /actions\n")
            script.chmod(0o755)
        vzctl("start", ctid, check=0)
        vzctl("stop", ctid, check=0)
        lines = log.read_text().split("\n")
        self.assertEqual([l.split()[0] for l in lines if l],
                         ["vps.premount", "ct.premount", "vps.mount", "ct.mount",
                          "ct.umount", "vps.umount", "ct.postumount", "vps.postumount"])
        self.assertTrue(all(l.split()[1] == str(ctid) for l in lines if l))
        vzctl("start", ctid, check=0)
        inside = self.inside(ctid, "cat /actions")
        self.assertEqual(inside.count("start on"), 2)
        self.assertEqual(inside.count("stop on"), 1)

    def test_mount_script_binds_reach_the_container(self):
        ctid = self.create()
        share = pathlib.Path(f"/run/vz/share-{ctid}")
        share.mkdir()
        (share / "hello").write_text("from the host\n")
        script = pathlib.Path(f"/etc/vz/conf/{ctid}.mount")
        script.write_text(f'#!/bin/sh\n. "$VE_CONFFILE"\nmkdir -p /var/lib/vz/root/{ctid}/mnt || exit 1\n'
                          f"mount -n --bind {share} /var/lib/vz/root/{ctid}/mnt\n")
        script.chmod(0o755)
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "cat /mnt/hello"), "from the host\n")
        self.assertFalse(pathlib.Path(f"/var/lib/vz/root/{ctid}/mnt/hello").exists())

    def test_failing_script_stops_the_start(self):
        ctid = self.create()
        script = pathlib.Path(f"/etc/vz/conf/{ctid}.mount")
        script.write_text("#!/bin/sh\nexit 1\n")
        script.chmod(0o755)
        self.assertRc(vzctl("start", ctid), 79)
        self.assertEqual(self.status(ctid), ["exist", "unmounted", "down"])


if __name__ == "__main__":
    vzhost.main()

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What vzctl and its faces say to a script: texts, exit statuses, stdout and stderr.

Runs the built vzctl (environment VZCTL=path, or build/*/vzctl/vzctl) as root in a mount namespace of its own with an
/etc/vz of its own. No container is started. Exit status 77: not root.
"""
import csv
import glob
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VZCTL = os.path.abspath(os.environ.get("VZCTL") or (glob.glob(ROOT + "/build/*/vzctl/vzctl") or ["vzctl"])[0])


class Cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A mount point, where the host has none. It stays: rmdir would unmount it in the namespaces of other tests.
        os.makedirs("/etc/vz", exist_ok=True)
        cls.tmp = tempfile.TemporaryDirectory(prefix="vz-cli-")
        base = cls.tmp.name
        for path in ("etc/conf", "etc/names", "lib/private/101", "lib/template/cache", "lock"):
            os.makedirs(f"{base}/{path}")
        with open(f"{base}/etc/vz.conf", "w", encoding="utf-8") as f:
            f.write(f'LOCKDIR="{base}/lock"\nTEMPLATE="{base}/lib/template"\nLOGGING="yes"\nLOGFILE="{base}/log"\n'
                    f'VE_PRIVATE="{base}/lib/private/$VEID"\nVE_ROOT="{base}/root/$VEID"\nVERBOSE="0"\n')
        cls.conf(101, 'PHYSPAGES="0:131072"\nSWAPPAGES="0:65536"\nNUMPROC="200:240"\nHOSTNAME="web"\nNAME="web"\n'
                      'IP_ADDRESS="10.0.0.1 fd00::1"\nONBOOT="yes"\nBOOTORDER="2"\nCPUUNITS="1000"\n'
                      'NETIF="ifname=eth0,mac=00:18:51:00:00:01,host_ifname=veth101.0"\nDESCRIPTION="a,b"\n')
        cls.conf(102, 'PHYSPAGES="0:262144"\nHOSTNAME="db"\nBOOTORDER="10"\n')
        with open(f"{base}/lib/private/101/layout", "w", encoding="utf-8") as f:
            f.write("dir\n")
        os.symlink("../conf/101.conf", f"{base}/etc/names/web")

    @classmethod
    def conf(cls, ctid, text):
        with open(f"{cls.tmp.name}/etc/conf/{ctid}.conf", "w", encoding="utf-8") as f:
            f.write(text)

    @classmethod
    def tearDownClass(cls):
        cls.tmp.cleanup()

    def run_face(self, face, *args, env=None, stdin=""):
        script = 'mount --bind "$1/etc" /etc/vz && shift && exec -a "$@"'
        words = ["unshare", "-m", "--propagation", "private", "bash", "-c", script, "sh", self.tmp.name]
        # exec -a NAME FILE ARGS: the face is chosen by argv[0].
        return subprocess.run(words + [face, VZCTL, *args], input=stdin, capture_output=True, text=True, timeout=30,
                              check=False, env={**os.environ, "NO_COLOR": "", **(env or {})})

    def vzctl(self, *args, **kw):
        return self.run_face("vzctl", *args, **kw)

    def vzlist(self, *args, **kw):
        return self.run_face("vzlist", *args, **kw)

    def check(self, result, status, stderr="", stdout=""):
        self.assertEqual(result.returncode, status, result)
        self.assertIn(stderr, result.stderr)
        self.assertIn(stdout, result.stdout)

    # ---- words before the container

    def test_no_arguments_is_usage_on_stderr(self):
        r = self.vzctl()
        self.check(r, 20, "Usage: vzctl")
        self.assertEqual(r.stdout, "")

    def test_help_starts_with_the_version_on_stdout(self):
        for args in (["--help"], ["help"], ["help", "set"], ["set", "--help"], ["exec", "--help"]):
            r = self.vzctl(*args)
            self.assertEqual(r.returncode, 0, r)
            self.assertRegex(r.stdout.splitlines()[0], r"^vzctl version \d+\.\d+\.\d+$")
        self.assertRegex(self.vzctl("--version").stdout, r"^vzctl version \d+\.\d+\.\d+\n$")

    def test_argument_errors(self):
        for args, status, text in (
                (["frobnicate", "101"], 20, "Bad command: frobnicate"),
                (["--frobnicate", "start", "101"], 20, "Bad option: --frobnicate"),
                (["start"], 21, "CT ID missing"),
                (["start", "-5"], 21, "Bad CT ID -5"),
                (["start", "--wait", "101"], 21, "Bad CT ID --wait"),
                (["start", "99999999999999999999"], 21, "Bad CT ID 99999999999999999999"),
                (["start", "2147483645"], 21, "Bad CT ID 2147483645"),
                (["start", "nobody"], 21, "Unable to find container by name nobody"),
                (["start", ""], 21, "Bad CT ID"),
                (["start", "0"], 21, "Only set actions are allowed for CT0"),
                (["start", "999"], 14, "Container config file does not exist"),
                (["exec", "999", "true"], 14, "Container config file does not exist"),
                (["start", "101", "--frobnicate"], 20, "Unknown option: --frobnicate"),
                (["start", "101", "extra"], 20, "Unexpected argument: extra"),
                (["exec", "101"], 20, "No command line given for exec"),
                (["enter", "101", "--exec"], 20, "No command line given for --exec"),
                (["console", "101", "x"], 21, "Bad tty number: x"),
                (["runscript", "101", "/nonexistent"], 11, "Script not found: /nonexistent"),
                (["stop", "101", "--stop-timeout", "-1"], 21, "Bad value for --stop-timeout: -1"),
                (["create", "103", "--layout", "qcow"], 21, "Bad value for --layout: qcow"),
                (["completion", "tcsh"], 20, "Which shell?"),
        ):
            with self.subTest(args=args):
                r = self.vzctl(*args)
                self.check(r, status, text)
                self.assertEqual(r.stdout, "")

    def test_snapshots_and_backups_name_what_is_missing(self):
        for args, status, text in (
                (["snapshot-delete", "101"], 27, "--id is missing"),
                (["snapshot-switch", "101", "--id", "x", "--skip-resume", "--must-resume"], 20, "exclude each other"),
                (["snapshot-list", "101", "-o", "colour"], 20, "Unknown field: colour"),
                (["restore-backup"], 27, "Which backup?"),
                (["restore-backup", "101-none"], 174, "there is no backup"),
                (["backup-verify", "/etc/hostname"], 174, "no backup"),
        ):
            with self.subTest(args=args):
                self.check(self.vzctl(*args), status, text)

    def test_quiet_mutes_the_terminal_but_not_the_log(self):
        r = self.vzctl("--quiet", "exec", "101", "true")
        self.assertEqual((r.returncode, r.stdout, r.stderr), (31, "", ""))
        with open(f"{self.tmp.name}/log", encoding="utf-8") as f:
            self.assertRegex(f.read(), r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} vzctl : CT 101 : Container is not running$")

    def test_missing_vz_conf(self):
        r = subprocess.run(["unshare", "-m", "bash", "-c", 'mount -t tmpfs t /etc/vz && exec "$0" status 101', VZCTL],
                           capture_output=True, text=True, check=False)
        self.assertEqual(r.returncode, 10, r)

    # ---- status

    def test_status(self):
        r = self.vzctl("status", "999")
        self.assertEqual((r.returncode, r.stdout), (0, "CTID 999 deleted unmounted down\n"))
        r = self.vzctl("status", "web")
        self.assertEqual((r.returncode, r.stdout), (0, "CTID 101 exist unmounted down\n"))
        self.assertEqual(json.loads(self.vzctl("status", "101", "--json").stdout),
                         {"ctid": 101, "exists": True, "mounted": False, "running": False, "suspended": False})

    # ---- not running

    def test_not_running(self):
        self.check(self.vzctl("exec", "101", "true"), 31, "Container is not running")
        self.check(self.vzctl("enter", "101"), 31, "Container is not running")
        r = self.vzctl("stop", "101")
        self.check(r, 0, "Unable to stop: container is not running")
        self.assertEqual(r.stdout, "")
        self.check(self.vzctl("umount", "101"), 40, "CT is not mounted")

    # ---- set

    def test_set_rules(self):
        for args, status, text in (
                ([], 20, "Nothing to set"),
                (["--ram"], 20, "--ram"),
                (["--ram", "x", "--save"], 21, "--ram"),
                (["--ram", "-1", "--save"], 21, "--ram"),
                (["--ram", "99999999999999999999G", "--save"], 21, "--ram"),
                (["--onboot", "maybe", "--save"], 21, "--onboot"),
                (["--cpuunits", "7", "--save"], 21, "--cpuunits"),
                (["--reset_ub", "--save"], 20, "--reset_ub"),
                (["--setmode", "later", "--save"], 20, "--setmode"),
                (["--setmode", "restart", "--ram", "1G"], 20, "--save"),
                (["--name", "other"], 20, "--save"),
                (["--nodemask", "0", "--save"], 20, "--cpumask"),
                (["--cpumask", "auto", "--save"], 20, "--nodemask"),
                (["--userpasswd", "secret"], 21, "--userpasswd"),
                (["--userpasswd", ":secret"], 21, "--userpasswd"),
                (["--ipadd", "300.1.1.1", "--save"], 21, "300.1.1.1"),
                (["--mac", "00:18:51:00:00:02", "--save"], 20, "--ifname"),
                (["--ifname", "eth9", "--mac", "00:18:51:00:00:02", "--save"], 104, "eth9"),
        ):
            with self.subTest(args=args):
                self.check(self.vzctl("set", "101", *args), status, text)
        # Swap must be known when RAM is limited.
        self.conf(103, 'HOSTNAME="x"\n')
        self.check(self.vzctl("set", "103", "--ram", "1G", "--save"), 28, "required UB parameter (swap) not set")
        os.unlink(f"{self.tmp.name}/etc/conf/103.conf")

    def test_set_password_from_stdin_is_checked(self):
        self.check(self.vzctl("set", "101", "--userpasswd", "-", stdin="nocolon\n"), 21, "--userpasswd")

    # ---- vzlist

    def test_vzlist_defaults(self):
        r = self.vzlist("-a")
        lines = r.stdout.splitlines()
        self.assertEqual(lines[0], "      CTID      NPROC STATUS    IP_ADDR         HOSTNAME")
        self.assertEqual(lines[1], "       101          - stopped   10.0.0.1 fd00:: web")
        self.assertTrue(all(line == line.rstrip() for line in lines))

    def test_vzlist_not_found(self):
        self.check(self.vzlist(), 0, "Container(s) not found")
        self.check(self.vzlist("-a", "-h", "nothing*"), 0, "Container(s) not found")
        self.check(self.vzlist("999"), 1)
        self.assertEqual(json.loads(self.vzlist("-j").stdout), [])

    def test_vzlist_options(self):
        for args, out in (
                (["-a1"], "       101\n       102\n"),
                (["-aH", "-octid", "-s-bootorder"], "       102\n       101\n"),
                (["-aHo", "physpages.l,ctid", "-s", "physpages.l"], "    131072        101\n    262144        102\n"),
                (["-aH", "-h", "d*", "-o", "hostname"], "db\n"),
                (["-H", "101", "-o", "bootorder"], "         2\n"),
                (["-H", "web", "-o", "ctid"], "       101\n"),
                (["-SH", "-N", "w?b", "-o", "name"], "web\n"),
                (["-aH", "-d", "a,*", "-o", "ctid"], "       101\n"),
                (["-Ha", "-o", "numproc.b,numproc.l,numproc.f", "101"], "       200        240          -\n"),
        ):
            with self.subTest(args=args):
                r = self.vzlist(*args)
                self.assertEqual((r.returncode, r.stdout), (0, out), r)

    def test_vzlist_errors(self):
        self.check(self.vzlist("-a", "-o", "frob"), 1, "Unknown field: frob")
        self.check(self.vzlist("-a", "-j", "-o", "physpages.l"), 1, "Field `physpages.l' is not available in JSON output")
        self.check(self.vzlist("-a", "--format", "xml"), 1, "--format")
        self.check(self.vzlist("--frob"), 1, "--frob")

    def test_vzlist_json(self):
        rows = json.loads(self.vzlist("-a", "-j").stdout)
        first = rows[0]
        self.assertEqual(first["ctid"], 101)
        self.assertEqual(first["ip"], ["10.0.0.1", "fd00::1"])
        self.assertEqual(first["numproc"], {"held": None, "maxheld": None, "barrier": 200, "limit": 240, "failcnt": None})
        self.assertIs(first["onboot"], True)
        self.assertIsNone(rows[1]["onboot"])
        self.assertEqual(set(first["diskspace"]), {"usage", "softlimit", "hardlimit"})
        self.assertTrue(re.search(r'^ +"status": "stopped",$', self.vzlist("-a", "-j").stdout, re.M))

    def test_vzlist_csv_and_yaml(self):
        rows = list(csv.DictReader(io.StringIO(self.vzlist("-a", "--format", "csv", "-o", "ctid,description,ip").stdout)))
        self.assertEqual(rows[0], {"ctid": "101", "description": "a,b", "ip": "10.0.0.1 fd00::1"})
        self.assertEqual(self.vzlist("-a", "--format", "yaml", "-o", "ctid,ip").stdout.splitlines()[0], "- ctid: 101")

    def test_vzlist_lists_its_columns(self):
        text = self.vzlist("-L").stdout
        for line in ("ctid            CTID", "physpages.l     PHYSP.l", "diskspace.s     DSPACE.s"):
            self.assertIn(line + "\n", text)

    def test_colour_only_when_asked(self):
        self.assertNotIn("\x1b", self.vzlist("-a").stdout)
        self.assertNotIn("\x1b", self.vzctl("status", "999").stdout)
        self.assertIn("\x1b", self.vzctl("--color=always", "status", "999").stdout)

    # ---- generated texts

    def test_completion_scripts_are_valid(self):
        for shell in ("bash", "zsh", "fish"):
            script = self.vzctl("completion", shell).stdout
            for word in ("create", "--ram" if shell != "fish" else "-l ram", "vzlist", "vztmpl"):
                self.assertIn(word, script)
            if subprocess.run(["which", shell], capture_output=True, check=False).returncode == 0:
                check = subprocess.run([shell, "-n"] + (["/dev/stdin"] if shell == "fish" else []), input=script,
                                       capture_output=True, text=True, check=False)
                self.assertEqual((check.returncode, check.stderr), (0, ""))

    def test_check_json(self):
        rows = json.loads(self.vzctl("check", "--json").stdout)
        self.assertTrue(rows)
        self.assertEqual(set(rows[0]), {"name", "present", "detail", "consequence", "remedy"})


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("SKIP: needs root for a mount namespace with its own /etc/vz")
        sys.exit(77)
    unittest.main()

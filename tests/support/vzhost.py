# SPDX-License-Identifier: GPL-2.0-or-later
"""A private host for tests: own mount and network namespaces, own /etc/vz, /var/lib/vz and /run/vz, the built vzctl.

A test file is a unittest module that ends with `vzhost.main()`. It runs unmodified tools: inside the namespaces the
default paths are private. Nothing of the machine's own vz is seen or touched; container ids are taken from a range of
this process, so that two runs side by side do not meet in the cgroup tree.

Exit status: 0 all passed, 1 some failed, 77 everything skipped (the reason is printed). The last line is
"N passed, N failed, N skipped".
"""
import contextlib
import glob
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VZ_BUILD", SOURCE / "build" / "ci"))
BIN = BUILD / "vzctl"
CACHE = pathlib.Path(os.environ.get("VZ_LAB_CACHE",
                                    pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "vz-lab"))
TEMPLATES = CACHE / "template"
BUSYBOX = "busybox"
DEBIAN = "debian-13-amd64"
_INSIDE = "VZ_TEST_NAMESPACE"

# A shell starts its background commands with these ignored, and ignored signals survive exec: Ctrl-C has to work.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class Result:
    """One finished command: rc, out, err."""

    def __init__(self, argv, rc, out, err):
        self.argv, self.rc, self.out, self.err = argv, rc, out, err

    def __repr__(self):
        return f"$ {' '.join(map(str, self.argv))}\nrc={self.rc}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def json(self):
        return json.loads(self.out)


def run(argv, stdin=None, timeout=180, env=None, check=None):
    """Runs a command to its end; `check` is the expected status, None for any."""
    argv = [str(a) for a in argv]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(argv, input=data, stdin=None if data is not None else subprocess.DEVNULL,
                          capture_output=True, timeout=timeout, env={**os.environ, **(env or {})})
    result = Result(argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    if check is not None and result.rc != check:
        raise AssertionError(f"expected status {check}\n{result}")
    return result


def vzctl(*args, **kw):
    return run([BIN / "vzctl", *args], **kw)


def vzlist(*args, **kw):
    return run([BIN / "vzlist", *args], **kw)


def vztmpl(*args, **kw):
    return run([BIN / "vztmpl", *args], **kw)


def wait_for(condition, timeout=30, what="condition", step=0.02):
    """Polls a condition that no event announces; its value when true. Fails with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout} s: {what}")
        time.sleep(step)


def cgroups(ctid, name=""):
    """The container's scope in each cgroup hierarchy, or a file in it. (Not Path.glob: a directory that goes away
    meanwhile, which may be anyone's, is an error there.)"""
    return [pathlib.Path(path) for path in glob.glob(f"/sys/fs/cgroup/**/vz-{ctid}.scope/{name}", recursive=True)]


def descriptors(pid):
    """(what it leads to, its fdinfo) of each open descriptor; one that is closed meanwhile is left out."""
    out = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            out.append((os.readlink(f"/proc/{pid}/fd/{name}"), pathlib.Path(f"/proc/{pid}/fdinfo/{name}").read_text()))
    return out


def numbered(names):
    """Steps of a trace as VZ_FAULT takes them: the third NAME is NAME:3."""
    seen, out = {}, []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(f"{name}:{seen[name]}")
    return out


def traced(*args):
    """Runs vzctl; the steps that it passed, numbered."""
    with tempfile.NamedTemporaryFile("r") as trace:
        vzctl(*args, env={"VZ_FAULT_TRACE": trace.name}, check=0)
        return numbered(trace.read().split())


def some_steps(steps, every=1):
    """Every so manieth of them, other ones in every run: at most VZ_TEST_STEPS, or all with VZ_TEST_ALL_STEPS=1."""
    if os.environ.get("VZ_TEST_ALL_STEPS") == "1":
        return steps
    most = int(os.environ.get("VZ_TEST_STEPS", "0"))
    if most:
        every = max(every, -(-len(steps) // most))
    return steps[os.getpid() % every::every]


def ends_and_some_steps(steps):
    """some_steps(), and always the first and the last one: before and after whatever is the moment."""
    some = set(some_steps(steps)) | {steps[0], steps[-1]}
    return [step for step in steps if step in some]


def busybox_template():
    """Name of the busybox template, built on first use."""
    if not (TEMPLATES / "cache" / f"{BUSYBOX}.tar.zst").exists():
        vztmpl("build", BUSYBOX, check=0, timeout=300)
    return BUSYBOX


def debian_template():
    """Name of the Debian template; the test is skipped when it is not in the cache and cannot be built."""
    if not (TEMPLATES / "cache" / f"{DEBIAN}.tar.zst").exists():
        built = vztmpl("build", DEBIAN, timeout=900)
        if built.rc != 0:
            raise unittest.SkipTest(f"no {DEBIAN} template and it cannot be built: {built.err.strip()[-300:]}")
    return DEBIAN


def feature(name):
    """Entry of `vzctl check --json`."""
    for entry in vzctl("check", "--json").json():
        if entry["name"] == name:
            return entry
    raise AssertionError(f"vzctl check knows no feature {name}")


def need(name):
    """Skips the test, naming the missing feature."""
    entry = feature(name)
    if not entry["present"]:
        raise unittest.SkipTest(f"{name}: {entry['detail'] or entry['consequence']}")


class HostTest(unittest.TestCase):
    """Base class: ids, busybox containers, everything destroyed afterwards."""

    _next = 0

    def new_id(self):
        HostTest._next += 1
        return 1_000_000_000 + (os.getpid() % 100_000) * 1000 + HostTest._next

    def create(self, *options, template=None, diskspace="64M", ctid=None):
        ctid = ctid or self.new_id()
        self.addCleanup(self.wipe, ctid)
        vzctl("create", ctid, "--ostemplate", template or busybox_template(), "--diskspace", diskspace, *options, check=0)
        return ctid

    def start(self, *options, **kw):
        ctid = self.create(*options, **kw)
        vzctl("start", ctid, check=0)
        return ctid

    def inside(self, ctid, command, check=0, **kw):
        """Standard output of a shell command inside."""
        return vzctl("exec2", ctid, command, check=check, **kw).out

    def wipe(self, ctid):
        vzctl("stop", ctid, "--fast")
        vzctl("umount", ctid)
        vzctl("destroy", ctid)

    def status(self, ctid):
        """The words of `vzctl status` after the id."""
        return vzctl("status", ctid, check=0).out.split()[2:]

    def assertRc(self, result, rc):
        self.assertEqual(result.rc, rc, repr(result))


def _enter_namespaces():
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", "--propagation", "private", "--", sys.executable, *sys.argv])


def _private_paths():
    """Own directories over the default paths; images on disk (a tmpfs has no direct I/O), the rest in memory."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="vz-test-", dir=os.environ.get("VZ_TEST_DIR", "/var/tmp")))
    if "tmpfs" not in run(["stat", "-f", "-c", "%T", "/run"], check=0).out:  # as on every host: CRIU keeps there what it has found out
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "vz-test", "/run"], check=0)
        pathlib.Path("/run/lock").mkdir()
    for path in ("/etc/vz", "/var/lib/vz", "/run/vz"):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    (work / "lib").mkdir()
    run(["mount", "--bind", work / "lib", "/var/lib/vz"], check=0)
    for path in ("/etc/vz", "/run/vz"):
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "vz-test", path], check=0)
    shutil.copytree(SOURCE / "etc" / "conf", "/etc/vz/conf")
    for name in ("conf", "names"):
        pathlib.Path("/etc/vz", name).mkdir(exist_ok=True)
    TEMPLATES.joinpath("cache").mkdir(parents=True, exist_ok=True)
    text = (SOURCE / "etc" / "vz.conf").read_text()
    pathlib.Path("/etc/vz/vz.conf").write_text(text + f'\nTEMPLATE="{TEMPLATES}"\nLOGGING="no"\nDEF_OSTEMPLATE="{BUSYBOX}"\n')
    run(["ip", "link", "set", "lo", "up"], check=0)
    return work


def vzd_pid():
    """None when none runs."""
    try:
        pid = int(pathlib.Path("/run/vz/vzd.pid").read_text())
        os.kill(pid, 0)
        return pid
    except (OSError, ValueError):
        return None


def stop_vzd():
    """Its process id, None without one; it may take a moment to end."""
    try:
        pid = int(pathlib.Path("/run/vz/vzd.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        return pid
    except (OSError, ValueError):
        return None


class _Runner(unittest.TextTestResult):
    def startTest(self, test):
        super().startTest(test)
        self._began = time.monotonic()

    def addSuccess(self, test):
        took = time.monotonic() - self._began
        if took >= 10:
            self.stream.write(f"{took:.0f} s ... ")
        super().addSuccess(test)
        self.passed = getattr(self, "passed", 0) + 1


_work = None


def enter_private_host():
    """Namespaces and paths of its own for this process; leave_private_host() afterwards."""
    global _work
    if os.environ.get(_INSIDE) != "1":
        _enter_namespaces()
    _work = _private_paths()


def leave_private_host():
    stop_vzd()
    run(["umount", "-l", "/var/lib/vz"])
    shutil.rmtree(_work, ignore_errors=True)


def main(private=True):
    """Runs the tests; with private=False on the machine's own vz, for guests of the lab."""
    if os.geteuid() != 0:
        print("skipped: host tests need root\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    if private:
        enter_private_host()
    try:
        program = unittest.main(module="__main__", exit=False, verbosity=2,
                                testRunner=unittest.TextTestRunner(resultclass=_Runner, verbosity=2, stream=sys.stdout))
    finally:
        if private:
            leave_private_host()
    outcome = program.result
    failed = len(outcome.failures) + len(outcome.errors) + len(outcome.unexpectedSuccesses)
    passed, skipped = getattr(outcome, "passed", 0), len(outcome.skipped)
    for test, reason in outcome.skipped:
        print(f"skipped: {test}: {reason}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 77 if not passed and skipped else 0)

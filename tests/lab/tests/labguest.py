# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab's tests have in common. They run inside a guest of tests/lab/run, on a stock kernel with cgroup v2."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import vzhost
from vzhost import vzctl

CGROUP = pathlib.Path("/sys/fs/cgroup")
SYSTEMD = pathlib.Path("/run/systemd/system").is_dir()
MIB = 1 << 20
# Mechanisms that a run takes away behind vz's back, to see that the tests fail without them.
WITHOUT = set(filter(None, os.environ.get("VZ_TEST_WITHOUT", "").split(",")))


def install(*settings):
    """What `cmake --install` made, in the guest; `settings` are added to vz.conf."""
    # A program that runs, like vzd of an earlier test, cannot be overwritten.
    vzhost.run(["cp", "-a", "--remove-destination", "/vz/build/install/.", "/"], check=0)
    vzhost.run(["ldconfig"], check=0)
    with open("/etc/vz/vz.conf", "a", encoding="ascii") as conf:
        conf.write("\n" + "\n".join((f'TEMPLATE="{vzhost.TEMPLATES}"', *settings)) + "\n")
    vzhost.run(["systemd-tmpfiles", "--create"])
    if SYSTEMD:
        vzhost.run(["systemctl", "daemon-reload"], check=0)


def scope(ctid):
    """P: the container's directory in the cgroup tree."""
    return CGROUP / "vz.slice" / f"vz-{ctid}.scope"


def value(ctid, name):
    """A file of P/ct, which carries the limits."""
    return (scope(ctid) / "ct" / name).read_text().strip()


def number(ctid, name):
    """A size; "max" is infinite."""
    text = value(ctid, name)
    return float("inf") if text == "max" else int(text)


def events(ctid, name="memory.events"):
    """A flat-keyed file as a dictionary."""
    return {key: int(count) for key, count in (line.split() for line in value(ctid, name).splitlines())}


def vmstat(name):
    for line in pathlib.Path("/proc/vmstat").read_text().splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    raise AssertionError(f"/proc/vmstat has no {name}")


class Between:
    """A value that moves is read before and after what shows it: the shown one is of some moment in between. Reading
    itself takes memory, CPU time and a task, the more of it the busier the machine is."""

    def __init__(self, truth):
        self.truth, self.before = truth, truth()

    def check(self, test, shown, slack):
        after = self.truth()
        test.assertGreaterEqual(shown, min(self.before, after) - slack, (self.before, after))
        test.assertLessEqual(shown, max(self.before, after) + slack, (self.before, after))


def set_(ctid, *options, **kw):
    """`vzctl set … --save`."""
    return vzctl("set", ctid, *options, "--save", **kw)


def main(private=True):
    if not os.environ.get("VZ_LAB_NODE"):
        print("skipped: only in a guest of tests/lab/run\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    vzhost.main(private)

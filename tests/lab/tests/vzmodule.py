# SPDX-License-Identifier: GPL-2.0-or-later
"""vz.ko in a guest: tests/lab/kmod KERNEL puts it where load() finds it."""
import os
import pathlib
import subprocess
import sys

MODULE = pathlib.Path(os.environ.get("VZ_BUILD", "/vz/build"), "kmod", os.uname().release, "vz.ko")
MODPROBE = pathlib.Path("/etc/modprobe.d/vz-lab-module.conf")


def loaded():
    return pathlib.Path("/sys/module/vz").exists()


def install():
    """Make `modprobe vz` work: the guest's /lib/modules is read-only."""
    if not MODULE.exists():
        raise FileNotFoundError(f"{MODULE}: run tests/lab/kmod for this kernel first")
    MODPROBE.write_text(f"install vz /sbin/insmod {MODULE} $CMDLINE_OPTS\n")


def load():
    install()
    subprocess.run(["modprobe", "vz"], check=True)


def unload():
    subprocess.run(["rmmod", "vz"], check=True)


if __name__ == "__main__":
    install() if "--install" in sys.argv else load()

# SPDX-License-Identifier: GPL-2.0-or-later
"""A node that is user-mode Linux: a process of this machine, without a virtual PC. Killing it cuts its power."""

import os
from dataclasses import dataclass

from .machine import Machine


@dataclass
class UserModeLinux(Machine):
    """Its root disk is the image that QEMU has, too, with a copy-on-write file of this run before it."""

    def __post_init__(self):
        super().__post_init__()
        self.log = self.console  # it writes the console to its standard output

    def command_line(self, control, output):
        hardware = self.hardware
        # In a PID namespace of its own: nothing of it is left when it is killed. Not as PID 1: that could not abort.
        line = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                "sh", "-c", '"$@"; exit $?', "sh", hardware.kernel / "linux", f"mem={hardware.memory}", f"umid=node{self.number}",
                f"uml_dir={self.directory}/", f"initrd={hardware.kernel / 'initramfs'}",
                f"ubd0={self.directory / f'node{self.number}.root'},{hardware.root}", *self.disks(),
                "con=null", "con0=null,fd:1", "ssl=null", f"ssl0=null,fd:{control}"]
        if output is not None:
            line.append(f"ssl1=null,fd:{output}")
        return [*line, f"vz.share={self.share}", f"vz.modules={hardware.kernel / 'modules'}",
                *self.run_arguments().split()]

    def disks(self):
        return [f"ubd{n}={disk}" for n, disk in self.make_disks()]

    def environment(self):
        """RAM is a file in /dev/shm. glibc's rseq area is not there in the guest's address spaces: without the tunable,
        the host kills them at their first signal."""
        return {**os.environ, "TMPDIR": "/dev/shm", "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}

    def complaints(self):
        return ""

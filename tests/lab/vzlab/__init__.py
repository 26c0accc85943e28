# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of tests/lab/run: share (what a guest sees), machine (one QEMU), accel (KVM or TCG), lab (a run)."""

import shutil
import sys


class LabError(Exception):
    """The lab itself failed, as opposed to the command that runs in it."""


def say(text):
    print(f"vz-lab: {text}", file=sys.stderr, flush=True)


def need(command, package):
    if not shutil.which(command):
        raise LabError(f"{command} is missing: apt install {package}")

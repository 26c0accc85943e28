# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM or TCG. /dev/kvm alone proves little (nested and paravirtual hosts offer it and then kill
stock kernels), so a stock kernel is booted under KVM once, and the verdict kept per host kernel."""

import os
import subprocess

from .machine import accel_options

PROBE_SECONDS = 20


def choose(wanted, kernel, cache):
    if wanted != "auto":
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    verdict = cache / f"accel-{os.uname().release}"
    if not verdict.exists():
        verdict.write_text(probe(kernel) + "\n")
    return verdict.read_text().strip()


def probe(kernel):
    """Does the kernel reach its initramfs under KVM?"""
    line = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot",
            *accel_options("kvm"), "-m", "512M", "-kernel", kernel / "vmlinuz", "-initrd", kernel / "initramfs",
            "-append", "console=ttyS0 panic=-1 vz.probe", "-serial", "stdio"]
    try:
        said = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=PROBE_SECONDS, check=False).stdout
    except subprocess.TimeoutExpired:
        return "tcg"
    return "kvm" if b"vz-lab: probe ok" in said else "tcg"

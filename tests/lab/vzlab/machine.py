# SPDX-License-Identifier: GPL-2.0-or-later
"""One guest: its QEMU command line, its process and the lines it says on the control port."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

KERNEL_ARGUMENTS = (
    "console=ttyS0 mitigations=off no_timer_check random.trust_cpu=on net.ifnames=0"
)


@dataclass
class Hardware:
    """What all nodes of a run have in common."""

    accel: str
    memory: str
    cpus: int
    disks: int
    root: Path
    kernel: Path
    init: str
    append: str = ""
    keep: Path = None


@dataclass
class Machine:
    """A node; links are socket file descriptors to other nodes' hubs, output is node1's stdout."""

    number: int
    hardware: Hardware
    directory: Path
    share: Path
    links: list = field(default_factory=list)
    output: bool = False

    def __post_init__(self):
        self.process = None
        self.said = []
        self.pending = b""
        self.control_fd = self.output_fd = None
        self.console = self.directory / f"node{self.number}.console"
        self.log = self.directory / f"node{self.number}.qemu"

    def kernel_arguments(self):
        return f"{KERNEL_ARGUMENTS} {self.run_arguments()}"

    def needed(self):
        """Arguments without which this kernel does not run here."""
        file = self.hardware.kernel / "arguments"
        return file.read_text().strip() if file.exists() else ""

    def processors(self):
        """The firmware's table for kernels without ACPI has one CPU of each socket."""
        cpus = self.hardware.cpus
        return f"{cpus},sockets={cpus}" if "acpi=off" in self.needed() else str(cpus)

    def run_arguments(self):
        hardware = self.hardware
        return f"{self.needed()} panic=-1 oops=panic loglevel=5 kunit.enable=1 kunit.autorun=1 vz.init={hardware.init} vz.node={self.number} " \
               f"systemd.unit=vz-lab.target systemd.machine_id={self.number:032x} " \
               f"systemd.show_status=no {hardware.append}"

    def command_line(self, control, output):
        hardware = self.hardware
        line = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
                "-name", f"node{self.number}", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                *accel_options(hardware.accel), "-smp", self.processors(), "-m", hardware.memory,
                "-kernel", hardware.kernel / "vmlinuz", "-initrd", hardware.kernel / "initramfs",
                "-append", self.kernel_arguments(),
                "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
                "-drive", f"file={hardware.root},format=raw,if=none,id=root,snapshot=on,cache=unsafe,"
                # only read; user-mode Linux locks it in a way that QEMU takes for a writer's
                "file.locking=off",
                "-device", "virtio-blk-pci,drive=root,serial=root",
                *shared_tree("share", self.share), *shared_tree("modules", hardware.kernel / "modules"),
                "-device", "virtio-serial-pci", *port("vz.control", control)]
        if output is not None:
            line += port("vz.output", output)
        return line + self.network() + self.disks()

    def network(self):
        """A NIC and every link on one hub: frames go to all others, never back to their sender."""
        line = ["-netdev", "hubport,id=nic,hubid=0",
                "-device", f"virtio-net-pci,netdev=nic,mac=52:54:00:98:00:{self.number:02x},romfile="]
        for link in self.links:
            line += ["-netdev", f"socket,id=link{link},fd={link}",
                     "-netdev", f"hubport,id=hub{link},hubid=0,netdev=link{link}"]
        return line

    def make_disks(self):
        """Pairs of a number, from 1, and a file. In --disks-in they are kept, for the next run to find."""
        made = []
        for n in range(1, self.hardware.disks + 1):
            disk = (self.hardware.keep or self.directory) / f"node{self.number}.disk{n}"
            with open(disk, "ab") as file:
                file.truncate(max(1 << 30, file.tell()))  # a larger one that is there stays
            made.append((n, disk))
        return made

    def disks(self):
        line = []
        for n, disk in self.make_disks():
            line += ["-drive", f"file={disk},format=raw,if=none,id=disk{n},cache=unsafe,discard=unmap",
                     "-device", f"virtio-blk-pci,drive=disk{n},serial=disk{n}"]
        return line

    def start(self):
        self.control_fd, control = os.pipe()
        output = None
        if self.output:
            self.output_fd, output = os.pipe()
        inherited = [control, *self.links] + ([output] if output is not None else [])
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command_line(control, output), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, pass_fds=inherited,
                                            env=self.environment())
        for fd in inherited:
            os.close(fd)

    def environment(self):
        return {**os.environ, "TMPDIR": str(self.directory)}

    def hear(self):
        """Take what came in on the control port; False at its end."""
        data = os.read(self.control_fd, 4096)
        *lines, self.pending = (self.pending + data).split(b"\n")
        self.said += [line.decode(errors="replace") for line in lines]
        return bool(data)

    @property
    def alive(self):
        return "hello" in self.said

    @property
    def status(self):
        for line in self.said:
            if line.startswith("status "):
                return int(line.split()[1])
        return None

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        for fd in (self.control_fd, self.output_fd):
            if fd is not None:
                os.close(fd)
        self.control_fd = self.output_fd = None

    def complaints(self):
        """What QEMU itself said, apart from its warning about a network without other nodes."""
        text = self.log.read_text(errors="replace")
        return "; ".join(line for line in text.splitlines() if "hub 0 is not connected" not in line)


def accel_options(accel):
    if accel == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    if accel == "icount":  # the guest's clock is the number of instructions: the same whatever else the host does
        return ["-accel", "tcg,thread=single,tb-size=256", "-icount", "shift=0", "-cpu", "max,la57=off"]
    # A CPU of a guest that is emulated at times runs code which another one is just patching, and the guest dies of an
    # int3. Taking turns they cannot; on a small machine, where guests run side by side, that costs nothing.
    thread = "multi" if (os.cpu_count() or 1) > 2 else "single"
    return ["-accel", f"tcg,thread={thread},tb-size=256", "-cpu", "max,la57=off"]


def shared_tree(tag, path):
    return ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]


def port(name, fd):
    """A virtio-serial port that writes into a pipe of ours."""
    n = fd
    return ["-add-fd", f"fd={fd},set={n}", "-chardev", f"file,id=port{n},path=/dev/fdset/{n},append=on",
            "-device", f"virtserialport,chardev=port{n},name={name}"]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Generic netlink by hand, for the family of vz.ko: tests have to be able to send what no library would."""
import ipaddress
import os
import socket
import struct

GENERIC = 16
SOL_NETLINK = 270
ADD_MEMBERSHIP, CAP_ACK, EXT_ACK, GET_STRICT_CHK = 1, 10, 11, 12
ERROR, DONE = 2, 3
REQUEST, ACK, DUMP = 1, 4, 0x300
CTRL = 16  # the family that knows families
NESTED = 0x8000
INFO, ADD, SET, DEL, GET, EVENT, UB_MAPS = range(1, 8)
NAMES = ("unspec pad abi version nr_cts nr_sleepers cgroup_id ctid name cpus boot_ns flags event pid comm uid rss_anon "
         "rss_file rss_shmem swap_ents ram_usage ram_limit swap_usage swap_limit addrs ub_fd ub_conf_fd ub_refresh_fd "
         "ub_state").split()
NUMBER = {name: number for number, name in enumerate(NAMES)}
STRINGS = {"version", "name", "comm"}
U64 = {"cgroup_id", "boot_ns", "rss_anon", "rss_file", "rss_shmem", "swap_ents", "ram_usage", "ram_limit", "swap_usage",
       "swap_limit"}
NO_LIMIT = (1 << 64) - 1


class NetlinkError(OSError):
    """errno, and the kernel's words."""

    def __init__(self, error, message):
        super().__init__(error, f"{os.strerror(error)}: {message}")
        self.message = message


def attribute(number, data):
    return struct.pack("=HH", len(data) + 4, number) + data + b"\0" * (-len(data) % 4)


def attributes(data):
    while len(data) >= 4:
        length, number = struct.unpack_from("=HH", data)
        yield number & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3:]


def pack_addresses(texts):
    """IPv4 is 1, IPv6 is 2."""
    found = [ipaddress.ip_address(text) for text in texts]
    return attribute(NUMBER["addrs"] | NESTED, b"".join(attribute(1 if a.version == 4 else 2, a.packed) for a in found))


def pack(name, value):
    if name == "addrs":
        return pack_addresses(value)
    if name in STRINGS:
        data = value.encode() + b"\0"
    else:
        data = struct.pack("=Q" if name in U64 else "=I", value)
    return attribute(NUMBER[name], data)


def unpack(data):
    found = {}
    for number, value in attributes(data):
        name = NAMES[number] if number < len(NAMES) else str(number)
        if name in STRINGS:
            found[name] = value.rstrip(b"\0").decode(errors="replace")
        elif name == "addrs":
            found[name] = [str(ipaddress.ip_address(bytes(address))) for _, address in attributes(value)]
        elif name != "pad":
            found[name] = int.from_bytes(value, "little")
    return found


class Genl:
    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, GENERIC)
        for option in (CAP_ACK, EXT_ACK, GET_STRICT_CHK):
            self.socket.setsockopt(SOL_NETLINK, option, 1)
        self.socket.settimeout(20)
        self.sequence = 0
        self.family, self.group = self.resolve()

    def close(self):
        self.socket.close()

    def resolve(self):
        # CTRL_CMD_GETFAMILY with CTRL_ATTR_FAMILY_NAME
        reply = dict(attributes(self.call(3, attribute(2, b"vz\0"), family=CTRL)[0]))
        groups = [dict(attributes(group)) for _, group in attributes(reply[7])]
        return struct.unpack("=H", reply[1])[0], struct.unpack("=I", groups[0][2])[0]

    def send(self, command, body, family=None, flags=REQUEST | ACK):
        self.sequence += 1
        header = struct.pack("=BBH", command, 1, 0)
        size = 16 + len(header) + len(body)
        family = self.family if family is None else family
        self.socket.send(struct.pack("=IHHII", size, family, flags, self.sequence, 0) + header + body)

    def receive(self):
        """(type, flags, payload) of the messages of one datagram."""
        data = self.socket.recv(1 << 20)
        while len(data) >= 16:
            size, kind, flags, _, _ = struct.unpack_from("=IHHII", data)
            yield kind, flags, data[16:size]
            data = data[(size + 3) & ~3:]

    def call(self, command, body=b"", family=None, flags=REQUEST | ACK):
        """The bodies of the answers; NetlinkError if the kernel refuses."""
        self.send(command, body, family, flags)
        answers = []
        while True:
            for kind, message_flags, payload in self.receive():
                if kind in (ERROR, DONE):
                    self.check(payload, message_flags)
                    return answers
                answers.append(payload[4:])

    @staticmethod
    def check(payload, flags):
        error = -struct.unpack_from("=i", payload)[0]
        if not error:
            return
        message = ""
        if flags & 0x200:  # NLM_F_ACK_TLVS, behind the header of what was refused
            message = dict(attributes(payload[20:])).get(1, b"").rstrip(b"\0").decode()
        raise NetlinkError(error, message)

    def do(self, command, **fields):
        answers = self.call(command, b"".join(pack(name, value) for name, value in fields.items()))
        return unpack(answers[0]) if answers else {}

    def dump(self):
        return [unpack(body) for body in self.call(GET, flags=REQUEST | DUMP)]

    def join(self):
        self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, self.group)

    def event(self):
        _, _, payload = next(self.receive())
        return unpack(payload[4:])

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sends forged frames from a container's network namespace and counts what its source filter lets through.

usage: net_primitives.py --netns /proc/PID/ns/net --inside venet0 --host-dev vz101 --allow 10.0.0.5 [--allow fd00::5]
       net_primitives.py --netns … --inside eth0 --host-dev veth101.0 --mac 00:18:51:a1:b2:c3

The verdict is the drop counter of the clsact qdisc on the host device, so a frame that is dropped later for another
reason does not count as filtered. Prints one line per case; exit status 0: all as expected, 1: not, 77: no root.
"""
import argparse
import ctypes
import ipaddress
import os
import re
import socket
import struct
import subprocess
import sys

COUNT = 20
ETH_IP, ETH_IP6, ETH_ARP, ETH_VLAN, ETH_QINQ = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8
CLONE_NEWNET = 0x40000000


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def ip_packet(source):
    """A UDP packet to discard from `source`, without UDP checksum."""
    udp = struct.pack("!HHHH", 9, 9, 8, 0)
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + source.packed + ipaddress.ip_address("fd99::99").packed + udp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0) + source.packed + bytes([198, 51, 100, 9])
    total = sum(struct.unpack("!10H", head))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + udp


def proto_of(source):
    return ETH_IP6 if source.version == 6 else ETH_IP


def cases(args, own_mac):
    """(name, frame, allowed)"""
    def frame(proto, payload, source=own_mac, tags=()):
        head = own_mac + source
        for tag in tags:
            head += struct.pack("!HH", tag, 5)
        return head + struct.pack("!H", proto) + payload

    if args.mac:
        good, bad = mac_bytes(args.mac), bytearray(mac_bytes(args.mac))
        bad[5] ^= 1
        payload = ip_packet(ipaddress.ip_address("192.0.2.1"))
        yield "own MAC", frame(ETH_IP, payload, good), True
        yield "own MAC, ARP", frame(ETH_ARP, bytes(46), good), True
        yield "own MAC, VLAN", frame(ETH_IP, payload, good, [ETH_VLAN]), True
        yield "foreign MAC", frame(ETH_IP, payload, bytes(bad)), False
        yield "foreign MAC, ARP", frame(ETH_ARP, bytes(46), bytes(bad)), False
        yield "foreign MAC, other half", frame(ETH_IP, payload, bytes([good[0] ^ 2]) + good[1:]), False
        return
    allowed = [ipaddress.ip_address(a) for a in args.allow]
    for a in allowed:
        packet = ip_packet(a)
        yield f"own {a}", frame(proto_of(a), packet), True
        yield f"own {a}, VLAN tag", frame(proto_of(a), packet, tags=[ETH_VLAN]), False
        yield f"own {a}, two tags", frame(proto_of(a), packet, tags=[ETH_QINQ, ETH_VLAN]), False
        other = proto_of(a) ^ ETH_IP ^ ETH_IP6
        yield f"own {a}, wrong ethertype", frame(other, packet), False
        yield f"own {a}, cut short", frame(proto_of(a), packet[:12]), False
        for bit in (0, a.max_prefixlen - 1):
            forged = type(a)(int(a) ^ (1 << bit))
            if forged not in allowed:
                yield f"forged {forged}", frame(proto_of(a), ip_packet(forged)), False
    for text in ("0.0.0.0", "127.0.0.1", "169.254.0.1", "::", "::1", "fe80::1", "fe80::2"):
        a = ipaddress.ip_address(text)
        yield f"forged {a}", frame(proto_of(a), ip_packet(a)), False
    yield "ARP", frame(ETH_ARP, bytes(46)), False
    yield "ethertype 0x88b5", frame(0x88B5, bytes(46)), False
    yield "802.3 length field", frame(46, bytes(46)), False


def send(netns, device, frames):
    """In a child: entering a namespace changes the whole thread."""
    pid = os.fork()
    if pid == 0:
        fd = os.open(netns, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
            os._exit(2)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((device, 0))
            for one in frames:
                raw.send(one)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(f"cannot send from {netns}")


def dropped(device):
    text = subprocess.run(["tc", "-s", "qdisc", "show", "dev", device, "clsact"], capture_output=True, text=True, check=True)
    match = re.search(r"Sent \d+ bytes (\d+) pkt \(dropped (\d+)", text.stdout)
    if not match:
        sys.exit(f"{device} has no clsact qdisc")
    return int(match.group(2))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--netns", required=True)
    parser.add_argument("--inside", required=True)
    parser.add_argument("--host-dev", required=True)
    parser.add_argument("--allow", action="append", default=[])
    parser.add_argument("--mac")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root", file=sys.stderr)
        return 77
    with open(f"/sys/class/net/{args.host_dev}/address", encoding="ascii") as file:
        own_mac = mac_bytes(file.read().strip())
    wrong = 0
    for name, frame, allowed in cases(args, own_mac):
        before = dropped(args.host_dev)
        send(args.netns, args.inside, [frame] * COUNT)
        lost = dropped(args.host_dev) - before
        good = lost == (0 if allowed else COUNT)
        wrong += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: {lost} of {COUNT} dropped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

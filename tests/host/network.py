#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Routed and bridged addresses: reachable, online, not to be spoofed."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import vzhost
from vzhost import run, vzctl


def ping(address, count=1, wait=2):
    return run(["ping", "-n", "-c", count, "-W", wait, address]).rc == 0


class Routed(vzhost.HostTest):
    def test_answers_from_host_and_from_another_container(self):
        a = self.start("--ipadd", "198.18.0.1", "--ipadd", "fd00:18::1")
        b = self.start("--ipadd", "198.18.0.2", "--ipadd", "fd00:18::2")
        self.assertTrue(ping("198.18.0.1"), "IPv4 from the host")
        self.assertTrue(ping("fd00:18::1"), "IPv6 from the host")
        self.inside(a, "ping -c 1 -W 2 198.18.0.2")
        self.inside(b, "ping -c 1 -W 2 198.18.0.1")
        self.inside(a, "ping6 -c 1 -W 2 fd00:18::2 || ping -6 -c 1 -W 2 fd00:18::2")

    def test_online_add_and_delete(self):
        ctid = self.start()
        added = vzctl("set", ctid, "--ipadd", "198.18.0.3", "--ipadd", "fd00:18::3", "--save", check=0)
        self.assertIn("CT configuration saved", added.out)
        self.assertTrue(ping("198.18.0.3") and ping("fd00:18::3"))
        self.assertIn('IP_ADDRESS="198.18.0.3 fd00:18::3"', pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text())
        vzctl("set", ctid, "--ipdel", "198.18.0.3", "--save", check=0)
        self.assertFalse(ping("198.18.0.3", wait=1))
        self.assertTrue(ping("fd00:18::3"))
        vzctl("set", ctid, "--ipdel", "all", "--save", check=0)
        self.assertFalse(ping("fd00:18::3", wait=1))
        self.assertNotIn("198.18", run(["ip", "route"]).out)

    def test_address_in_use(self):
        self.start("--ipadd", "198.18.0.4")
        other = self.create("--ipadd", "198.18.0.4")
        refused = vzctl("start", other)
        self.assertRc(refused, 78)
        self.assertIn("198.18.0.4", refused.err)
        self.assertEqual(self.status(other), ["exist", "unmounted", "down"])
        run(["ip", "addr", "add", "198.18.0.5/32", "dev", "lo"], check=0)
        self.addCleanup(run, ["ip", "addr", "del", "198.18.0.5/32", "dev", "lo"])
        third = self.start()
        self.assertRc(vzctl("set", third, "--ipadd", "198.18.0.5", "--save"), 78)
        self.assertNotIn("198.18.0.5", pathlib.Path(f"/etc/vz/conf/{third}.conf").read_text())

    def test_bad_addresses(self):
        ctid = self.start()
        for bad in ("", "1.2.3", "1.2.3.4.5", "300.1.1.1", "224.0.0.1", "0.0.0.0", "127.0.0.1", "::", "::1", "ff02::1",
                    "10.0.0.1/33", "10.0.0.1/-1", "x", "10.0.0.1 10.0.0.2; reboot"):
            with self.subTest(bad=bad):
                self.assertRc(vzctl("set", ctid, "--ipadd", bad, "--save"), 21)
        self.assertRc(vzctl("set", ctid, "--ipdel", "198.18.99.99", "--save"), 21)

    def test_cannot_be_spoofed(self):
        """A packet with another source never reaches the host, by the container's root using its own tools."""
        ctid = self.start("--ipadd", "198.18.0.6", "--ipadd", "fd00:18::6")
        victim = self.start("--ipadd", "198.18.0.7")
        before = self.received(f"vz{ctid}")
        self.inside(ctid, "ip addr add 198.18.0.7/32 dev venet0; ip addr add 198.18.0.99/32 dev venet0; "
                          "ip -6 addr add fd00:18::99/128 dev venet0")
        host = "198.18.255.1"
        run(["ip", "addr", "add", host + "/32", "dev", "lo"], check=0)
        self.addCleanup(run, ["ip", "addr", "del", host + "/32", "dev", "lo"])
        self.assertEqual(vzctl("exec2", ctid, f"ping -c 1 -W 2 -I 198.18.0.6 {host}").rc, 0, "own address works")
        capture = self.count_matching("198.18.0.99")
        self.assertNotEqual(vzctl("exec2", ctid, f"ping -c 2 -W 1 -I 198.18.0.99 {host}").rc, 0)
        self.assertNotEqual(vzctl("exec2", ctid, f"ping -c 2 -W 1 -I 198.18.0.7 {host}").rc, 0)
        self.assertNotEqual(vzctl("exec2", ctid, "ping -6 -c 2 -W 1 -I fd00:18::99 fd00:18::1").rc, 0)
        self.assertEqual(capture(), 0, "no spoofed packet passed the ingress filter")
        self.assertTrue(ping("198.18.0.7"), "the victim still has its address")
        self.assertEqual(self.inside(victim, "echo ok").strip(), "ok")
        self.assertGreater(self.received(f"vz{ctid}"), before, "the packets did arrive at the filter")

    def received(self, link):
        return int(pathlib.Path(f"/sys/class/net/{link}/statistics/rx_packets").read_text()) \
            if pathlib.Path(f"/sys/class/net/{link}").exists() else self.rx_by_ip(link)

    @staticmethod
    def rx_by_ip(link):
        import json
        return json.loads(run(["ip", "-j", "-s", "link", "show", link], check=0).out)[0]["stats64"]["rx"]["packets"]

    def count_matching(self, source):
        """A raw ICMP socket on the host sees whatever is delivered locally: counts packets from `source`."""
        import socket
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        sock.setblocking(False)
        self.addCleanup(sock.close)

        def count():
            n = 0
            while True:
                try:
                    _, peer = sock.recvfrom(2048)
                except BlockingIOError:
                    return n
                n += peer[0] == source
        return count

    def test_network_is_closed_inside(self):
        """Without an address there is only lo; MPTCP is off so that a later checkpoint works."""
        ctid = self.start()
        self.assertEqual(self.inside(ctid, "ls /sys/class/net").split(), ["lo"])
        self.assertEqual(self.inside(ctid, "cat /proc/sys/net/mptcp/enabled 2>/dev/null || echo 0").strip(), "0")

    def test_hostname_dns(self):
        ctid = self.create("--hostname", "web.example.org", "--nameserver", "192.0.2.53", "--searchdomain", "example.org")
        vzctl("start", ctid, check=0)
        self.assertEqual(self.inside(ctid, "hostname").strip(), "web.example.org")
        self.assertIn("nameserver 192.0.2.53", self.inside(ctid, "cat /etc/resolv.conf"))
        self.assertIn("web.example.org web", self.inside(ctid, "cat /etc/hosts"))
        vzctl("set", ctid, "--hostname", "db.example.org", "--nameserver", "192.0.2.54", "--save", check=0)
        self.assertEqual(self.inside(ctid, "hostname").strip(), "db.example.org")
        self.assertIn("nameserver 192.0.2.54", self.inside(ctid, "cat /etc/resolv.conf"))
        self.assertNotIn("web.example.org", self.inside(ctid, "cat /etc/hosts"))


class Bridged(vzhost.HostTest):
    def setUp(self):
        run(["ip", "link", "add", "vzbr0", "type", "bridge"], check=0)
        self.addCleanup(run, ["ip", "link", "del", "vzbr0"])
        run(["ip", "addr", "add", "198.19.0.254/24", "dev", "vzbr0"], check=0)
        run(["ip", "link", "set", "vzbr0", "up"], check=0)

    def test_bridge_online_and_mac_filter(self):
        ctid = self.start()
        vzctl("set", ctid, "--netif_add", "eth0,00:18:51:00:00:01,,,vzbr0", "--save", check=0)
        self.inside(ctid, "ip addr add 198.19.0.1/24 dev eth0 && ip link set eth0 up")
        vzhost.wait_for(lambda: ping("198.19.0.1"), what="bridged address answers")
        self.inside(ctid, "ip link set eth0 down; ip link set eth0 address 00:18:51:00:00:66; ip link set eth0 up")
        self.assertFalse(ping("198.19.0.1", wait=1), "a foreign MAC passes the filter")
        config = pathlib.Path(f"/etc/vz/conf/{ctid}.conf").read_text()
        self.assertIn("bridge=vzbr0", config)
        self.assertIn("mac=00:18:51:00:00:01", config)
        vzctl("restart", ctid, check=0)
        self.assertIn("eth0", self.inside(ctid, "ls /sys/class/net"))
        vzctl("set", ctid, "--netif_del", "eth0", "--save", check=0)
        self.assertNotIn("eth0", self.inside(ctid, "ls /sys/class/net"))
        self.assertNotIn(f"veth{ctid}", run(["ip", "-o", "link"]).out)

    def test_missing_bridge(self):
        ctid = self.start()
        refused = vzctl("set", ctid, "--netif_add", "eth0,,,,nosuchbr", "--save")
        self.assertRc(refused, 104)
        self.assertIn("nosuchbr", refused.err)
        self.assertNotIn("eth0", self.inside(ctid, "ls /sys/class/net"))


if __name__ == "__main__":
    vzhost.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that notice everything: what was acknowledged must be there, once; what comes back must be what was asked for.

    clients.py http|redis|echo|postgres ADDRESS PORT [CONNECTIONS]

Prints "connected"; then, for each line on standard input, "done COUNT SECONDS" (what was done so far, and the longest
wait for an answer since the last line); at the end of the input "good", after a last look at what the server has. The
first thing that is wrong is printed as "wrong …", and ends it with status 1.
"""
import hashlib
import select
import socket
import struct
import sys
import time

TIMEOUT = 120  # of a connection that is stuck
NUMBERS = hashlib.md5("".join(f"{n}\n" for n in range(1, 20001)).encode()).digest()


class Wrong(Exception):
    pass


class Connection:
    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port), timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise Wrong("the connection was closed")
        return line.rstrip(b"\r\n")

    def exactly(self, size):
        data = self.file.read(size)
        if len(data) != size:
            raise Wrong("the connection was closed")
        return data


class Http(Connection):
    """The same file again and again through one connection."""

    def step(self):
        self.socket.sendall(b"GET /numbers HTTP/1.1\r\nHost: x\r\n\r\n")
        status, size = self.line(), 0
        if not status.startswith(b"HTTP/1.1 200"):
            raise Wrong(status.decode())
        while header := self.line():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
            if name.lower() == b"connection" and b"close" in value:  # after 1000 requests
                self.__init__(*self.socket.getpeername()[:2])
                return
        if hashlib.md5(self.exactly(size)).digest() != NUMBERS:
            raise Wrong("another file")

    def check(self):
        self.step()


class Redis(Connection):
    """Counts: no number may be missing, none come twice."""
    count = 0

    def ask(self, *words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def step(self):
        self.ask(b"INCR", b"counter")
        self.count += 1
        if (line := self.line()) != b":%d" % self.count:
            raise Wrong(f"{self.count} was expected: {line!r}")

    def check(self):
        self.step()


class Echo(Redis):
    """A number of its own for every connection and question."""

    def step(self):
        self.count += 1
        text = b"%d-%d" % (self.socket.fileno(), self.count)
        self.ask(b"ECHO", text)
        if self.line() != b"$%d" % len(text) or self.line() != text:
            raise Wrong(f"something else than {text!r}")


class Postgres(Connection):
    """A commit for every number; at the end all that were acknowledged must be there."""
    clients = 0

    def __init__(self, address, port):
        super().__init__(address, port)
        Postgres.clients += 1
        self.client, self.count = Postgres.clients, 0
        body = struct.pack(">i", 196608) + b"user\0postgres\0database\0postgres\0\0"
        self.socket.sendall(struct.pack(">i", len(body) + 4) + body)
        self.answer()

    def answer(self):
        rows = []
        while True:
            kind, size = struct.unpack(">ci", self.exactly(5))
            body = self.exactly(size - 4)
            if kind == b"E":
                raise Wrong(body.replace(b"\0", b" ").decode())
            if kind == b"D":
                rows.append(body[6:].decode())
            if kind == b"Z":
                return rows

    def query(self, text):
        body = text.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack(">i", len(body) + 4) + body)
        return self.answer()

    def step(self):
        self.query(f"insert into log values ({self.client}, {self.count})")
        self.count += 1

    def check(self):
        rows = self.query(f"select count(*) from log where client = {self.client} and number < {self.count}")
        if rows != [str(self.count)]:
            raise Wrong(f"{self.count} commits were acknowledged, and there are {rows}")


def main(kind, address, port, connections="1"):
    clients = [{"http": Http, "redis": Redis, "echo": Echo, "postgres": Postgres}[kind](address, int(port)) for _ in range(int(connections))]
    print("connected", flush=True)
    done, longest = 0, 0.0
    while True:
        for client in clients:
            began = time.monotonic()
            client.step()
            longest = max(longest, time.monotonic() - began)
            done += 1
        if select.select([sys.stdin], [], [], 0.002)[0]:
            if not sys.stdin.readline():
                break
            print("done", done, longest, flush=True)
            longest = 0.0
    for client in clients:
        client.check()
    print("good", flush=True)


try:
    main(*sys.argv[1:])
except (Wrong, OSError) as error:
    print("wrong", error, flush=True)
    sys.exit(1)

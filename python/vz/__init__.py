# SPDX-License-Identifier: LGPL-2.1-or-later
"""Beancounters of vz containers, read through libvz.

    import vz

    with vz.Beancounters() as counters:
        for container in counters.read():
            print(container.ctid, container["numfile"].held)
        for event in counters.events(thresholds={"numfile": 90}):
            print(event)

Needs root. One thread per Beancounters object.
"""
import collections
import pathlib
import select
import time

import cffi

from . import _library

__all__ = ["Beancounters", "Container", "Counter", "Error", "Event", "Resource", "UNLIMITED"]

UNLIMITED = 2**63 - 1
_UNKNOWN = 2**64 - 1
_KINDS = ("refused", "threshold", "oom_kill", "started", "stopped")

#: Numbers of one row. held, maxheld and failcnt are None where this host has no such number; barrier and limit are
#: UNLIMITED where there is none.
Counter = collections.namedtuple("Counter", "held maxheld barrier limit failcnt")
#: One row of the table of resources. unit is "bytes", "pages" (of 4 KiB) or "objects"; error the errno of a refused
#: call or 0; counted: by a program at every change; limited: this host enforces limits.
Resource = collections.namedtuple("Resource", "name key unit error counted limited")
#: kind is refused, threshold, oom_kill, started or stopped; delta refusals, percent or kills; counter as it is now.
Event = collections.namedtuple("Event", "kind ctid resource delta counter")


class Error(Exception):
    """What libvz says; code is the exit status that vzctl(8) would have."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Container(collections.namedtuple("Container", "ctid counters")):
    """The rows of one container by name, as a mapping: container["numfile"].held."""

    __slots__ = ()

    def __getitem__(self, name):
        return self.counters[name] if isinstance(name, str) else super().__getitem__(name)


def _declarations():
    """vz/ubc.h, without what only a preprocessor understands."""
    lines, skipping = [], False
    for line in pathlib.Path(__file__).with_name("ubc.h").read_text().splitlines():
        if line.startswith("#ifdef __cplusplus"):
            skipping = True
        elif line.startswith("#endif"):
            skipping = False
        elif not skipping and not line.startswith("#"):
            lines.append(line)
    return "\n".join(lines)


_ffi = cffi.FFI()
_ffi.cdef(_declarations())


def _load():
    errors = []
    for name in _library.NAMES:
        try:
            return _ffi.dlopen(name)
        except OSError as error:
            errors.append(str(error))
    raise ImportError("; ".join(errors))


_lib = _load()


def _text(pointer):
    return None if pointer == _ffi.NULL else _ffi.string(pointer).decode(errors="replace")


def _known(number):
    return None if number == _UNKNOWN else number


def _counter(c):
    return Counter(_known(c.held), _known(c.maxheld), c.barrier, c.limit, _known(c.failcnt))


class Beancounters:
    """A handle. etc, run and lib are vz's directories where they are not the installed ones."""

    def __init__(self, etc=None, run=None, lib=None):
        self._ubc = _ffi.NULL
        words = [_ffi.NULL if w is None else _ffi.new("char[]", str(w).encode()) for w in (etc, run, lib)]
        paths = _ffi.new("struct vz_ubc_paths *", {"etc": words[0], "run": words[1], "lib": words[2]})
        handle = _ffi.new("vz_ubc **")
        status = _lib.vz_ubc_open(handle, paths)
        self._ubc = handle[0]
        try:
            self._check(status)
        except Error:
            self.close()
            raise
        self.resources = [self._describe(row) for row in range(_lib.vz_ubc_rows())]

    def close(self):
        ubc, self._ubc = self._ubc, _ffi.NULL
        _lib.vz_ubc_close(ubc)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()

    def __del__(self):
        if getattr(self, "_ubc", _ffi.NULL) != _ffi.NULL:
            self.close()

    def _check(self, status):
        if status:
            raise Error(status, _text(_lib.vz_ubc_error(self._ubc)))

    def _open(self):
        if self._ubc == _ffi.NULL:
            raise ValueError("closed")
        return self._ubc

    def _describe(self, row):
        out = _ffi.new("struct vz_ubc_resource *")
        self._check(_lib.vz_ubc_describe(self._ubc, row, out, _ffi.sizeof("struct vz_ubc_resource")))
        return Resource(_text(out.name), _text(out.key), _text(out.unit), out.error, bool(out.counted), bool(out.limited))

    def _container(self, index):
        counter = _ffi.new("struct vz_ubc_counter *")
        rows = {}
        for row, resource in enumerate(self.resources):
            if resource.key is None:
                continue
            self._check(_lib.vz_ubc_get(self._ubc, index, row, counter, _ffi.sizeof("struct vz_ubc_counter")))
            rows[resource.name] = _counter(counter)
        return Container(_lib.vz_ubc_ctid(self._ubc, index), rows)

    def read(self):
        """All running containers, by number."""
        count = _ffi.new("size_t *")
        self._check(_lib.vz_ubc_read(self._open(), count))
        return [self._container(index) for index in range(count[0])]

    def events(self, interval=1.0, thresholds=None, timeout=None):
        """Yields what happens from now on; ends when `timeout` seconds pass without an event.

        thresholds: percent of the barrier by resource. The subscription begins with this call.
        """
        for name, percent in (thresholds or {}).items():
            row = _lib.vz_ubc_row(name.encode())
            if row < 0:
                raise KeyError(name)
            self._check(_lib.vz_ubc_threshold(self._open(), row, percent))
        handle = _ffi.new("vz_ubc_events **")
        self._check(_lib.vz_ubc_subscribe(self._open(), max(1, int(interval * 1000)), handle))
        return self._events(_ffi.gc(handle[0], _lib.vz_ubc_events_close), timeout)

    def _events(self, events, timeout):
        event = _ffi.new("struct vz_ubc_event *")
        poll = select.poll()
        poll.register(_lib.vz_ubc_events_fd(events), select.POLLIN)
        quiet_since = time.monotonic()
        while True:
            status = _lib.vz_ubc_events_next(self._open(), events, event, _ffi.sizeof("struct vz_ubc_event"))
            if status < 0:
                raise Error(-status, _text(_lib.vz_ubc_error(self._ubc)))
            if status:
                yield Event(_KINDS[event.kind], event.ctid, self.resources[event.row].name, event.delta, _counter(event.counter))
                quiet_since = time.monotonic()
                continue
            left = None if timeout is None else quiet_since + timeout - time.monotonic()
            if left is not None and left <= 0:
                return
            poll.poll(None if left is None else left * 1000)

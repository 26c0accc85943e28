# SPDX-License-Identifier: GPL-2.0-or-later
"""A program on a terminal of its own: what it shows, typed keys, window size. Waits for text, never for time."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time


class Terminal:
    """Runs argv as leader of a session on a new pty. Use as a context manager: the program is ended on exit."""

    def __init__(self, argv, rows=24, cols=80, env=None):
        self.screen = ""  # everything shown so far
        self.status = None  # exit status, -N when killed by signal N
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(str(argv[0]), [str(a) for a in argv], {**os.environ, "TERM": "linux", **(env or {})})
        self.resize(rows, cols)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)
        os.close(self.fd)

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def _read(self, seconds):
        """False at the end: the last process on the terminal has closed it."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)

    def expect(self, pattern, timeout=20, start=0):
        """Reads until the pattern appears after offset `start` of what was shown; the match."""
        deadline = time.monotonic() + timeout
        alive = True
        while True:
            match = re.compile(pattern).search(self.screen, start)
            if match:
                return match
            left = deadline - time.monotonic()
            if left <= 0 or not alive:
                raise AssertionError(f"{pattern!r} not shown{'' if alive else ', the terminal was closed'}: {self.screen[start:]!r}")
            alive = self._read(left)

    def wait(self, timeout=20):
        """Reads to the end; the program's exit status."""
        deadline = time.monotonic() + timeout
        while self.status is None:
            self._read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise AssertionError(f"still running after {timeout} s: {self.screen!r}")
        while select.select([self.fd], [], [], 0)[0] and self._read(0):
            pass
        return self.status

# SPDX-License-Identifier: GPL-2.0-or-later
"""Quotas and project ids as the kernel tells them, by system calls: the tests do not ask the code that they test."""
import ctypes
import fcntl
import os
import struct

USER, GROUP, PROJECT = 0, 1, 2
_QUOTACTL_FD = 443
_XGETQUOTA = (ord("X") << 8) + 3
_XSETQLIM = (ord("X") << 8) + 4
_FSGETXATTR = 0x801C581F
_INHERIT = 0x200
# struct fs_disk_quota of linux/dqblk_xfs.h
_ENTRY = struct.Struct("=bbHI6Qii")
_libc = ctypes.CDLL(None, use_errno=True)


def quota(path, kind, number):
    """Limits and usage in bytes and inodes, as a dictionary."""
    buffer = ctypes.create_string_buffer(112)
    fd = os.open(path, os.O_RDONLY)
    try:
        if _libc.syscall(_QUOTACTL_FD, fd, (_XGETQUOTA << 8) | kind, ctypes.c_uint(number), buffer) != 0:
            err = ctypes.get_errno()
            if err == 2:  # never used
                return {"hard": 0, "soft": 0, "hard_inodes": 0, "soft_inodes": 0, "bytes": 0, "inodes": 0}
            raise OSError(err, f"quota of {number} at {path}")
    finally:
        os.close(fd)
    hard, soft, ihard, isoft, blocks, inodes = _ENTRY.unpack_from(buffer)[4:10]
    return {"hard": hard * 512, "soft": soft * 512, "hard_inodes": ihard, "soft_inodes": isoft, "bytes": blocks * 512, "inodes": inodes}


def project_of(path):
    """Project id and whether what is made there inherits it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        flags, _, _, project = struct.unpack_from("=IIII", fcntl.ioctl(fd, _FSGETXATTR, bytes(28)))
    finally:
        os.close(fd)
    return project, bool(flags & _INHERIT)


def disk_usage(top, per_user=None):
    """Bytes and inodes of a tree as du(1) adds them up; `per_user` takes the same for each owner."""
    seen, total = set(), 0

    def add(st):
        nonlocal total
        if st.st_ino in seen:
            return
        seen.add(st.st_ino)
        total += st.st_blocks * 512
        if per_user is not None:
            have = per_user.setdefault(st.st_uid, [0, 0])
            have[0] += st.st_blocks * 512
            have[1] += 1

    def walk(fd):  # by descriptors: the tree may be deeper than a path can be long
        try:
            add(os.fstat(fd))
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        walk(os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd))
                    else:
                        add(entry.stat(follow_symlinks=False))
        finally:
            os.close(fd)
    walk(os.open(top, os.O_RDONLY | os.O_DIRECTORY))
    return total, len(seen)


def set_hard(path, kind, number, size, inodes):
    """Hard limits; no soft ones."""
    entry = bytearray(112)
    struct.pack_into("=bbHI4Q", entry, 0, 1, (1, 4, 2)[kind], 0b1111, number, size // 512, 0, inodes, 0)
    fd = os.open(path, os.O_RDONLY)
    try:
        if _libc.syscall(_QUOTACTL_FD, fd, (_XSETQLIM << 8) | kind, ctypes.c_uint(number), bytes(entry)) != 0:
            raise OSError(ctypes.get_errno(), f"limits of {number} at {path}")
    finally:
        os.close(fd)

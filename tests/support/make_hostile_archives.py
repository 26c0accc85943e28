#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes OS template archives that try to do harm: make_hostile_archives.py BUSYBOX_TAR_ZST DIRECTORY CANARY

Each starts as the good template. CANARY is the path of a host file; a test makes it, unpacks every archive, and
looks whether it, its directory, or anything else outside of the new container has changed. Prints one line per
archive: NAME EXPECTED, where EXPECTED is `ok` (harmless parts unpacked) or the code that create must fail with."""

import gzip
import io
import os
import subprocess
import sys
import tarfile

NO_SPACE, BAD_TEMPLATE = 46, 47


def file(tar, name, data=b"evil\n", mode=0o644):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = mode
    tar.addfile(info, io.BytesIO(data))


def link(tar, name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    tar.addfile(info)


def node(tar, name, kind, major, minor):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.devmajor, info.devminor = major, minor
    info.mode = 0o666
    tar.addfile(info)


def absolute(tar, canary):
    file(tar, canary)


def dotdot(tar, canary):
    file(tar, "./../../../../../../../.." + canary)


def symlink_absolute(tar, canary):
    link(tar, "./out", os.path.dirname(canary))
    file(tar, "./out/" + os.path.basename(canary))


def symlink_dotdot(tar, canary):
    link(tar, "./up", "../../../../../../../.." + os.path.dirname(canary))
    file(tar, "./up/" + os.path.basename(canary))


def symlink_file(tar, canary):
    link(tar, "./etc/victim", canary)
    file(tar, "./etc/victim")


def hardlink(tar, canary):
    link(tar, "./stolen", canary, tarfile.LNKTYPE)
    file(tar, "./stolen")


def hardlink_shadow(tar, _):
    link(tar, "./shadow", "../../../../etc/shadow", tarfile.LNKTYPE)


def proc_link(tar, _):
    link(tar, "./p", "/proc/self/root/etc")
    file(tar, "./p/vz-was-here")


def devices(tar, _):
    node(tar, "./dev/sda", tarfile.BLKTYPE, 8, 0)
    node(tar, "./dev/null", tarfile.CHRTYPE, 1, 3)
    node(tar, "./root/mem", tarfile.CHRTYPE, 1, 1)
    node(tar, "./root/fifo", tarfile.FIFOTYPE, 0, 0)


def setuid(tar, _):
    file(tar, "./root/suid", b"#!/bin/sh\n", 0o6755)


def huge_ids(tar, _):
    info = tarfile.TarInfo("./root/foreign")
    info.uid = info.gid = 100000
    tar.addfile(info)


def device_named_error(tar, _):
    file(tar, "./root/x: Cannot mknod: Operation not permitted")


def deep(tar, _):
    file(tar, "./" + "d/" * 1500 + "f")


def zeros(tar, _):
    info = tarfile.TarInfo("./bomb")
    info.size = 256 << 20

    class Zeros(io.RawIOBase):
        def read(self, n=-1):
            return bytes(n)

    tar.addfile(info, Zeros())


def sparse(tar, _):
    info = tarfile.TarInfo("./sparse")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.numblocks": "1",
                        "GNU.sparse.size": str(1 << 60), "GNU.sparse.map": f"{(1 << 60) - 512},512",
                        "GNU.sparse.name": "sparse"}
    info.size = 512
    tar.addfile(info, io.BytesIO(bytes(512)))


def many(tar, _):
    for i in range(30000):
        tar.addfile(tarfile.TarInfo(f"./root/n{i}"))


HARMLESS_OR_REFUSED = {  # name: (maker, expected)
    "absolute": (absolute, "ok"),  # tar strips the leading slash
    "dotdot": (dotdot, BAD_TEMPLATE),
    "symlink_absolute": (symlink_absolute, BAD_TEMPLATE),
    "symlink_dotdot": (symlink_dotdot, BAD_TEMPLATE),
    "symlink_file": (symlink_file, "ok"),  # the link is replaced
    "hardlink": (hardlink, BAD_TEMPLATE),
    "hardlink_shadow": (hardlink_shadow, "ok"),  # becomes a link to its own etc/shadow
    "proc_link": (proc_link, BAD_TEMPLATE),
    "devices": (devices, "ok"),
    "setuid": (setuid, "ok"),
    "huge_ids": (huge_ids, BAD_TEMPLATE),
    "device_named_error": (device_named_error, "ok"),
    "deep": (deep, "ok"),
    "zeros": (zeros, NO_SPACE),
    "sparse": (sparse, BAD_TEMPLATE),
    "many": (many, NO_SPACE),
}


def write(path, base, maker, canary):
    raw = path + ".raw"
    with open(raw, "wb") as out:
        out.write(base)
    with tarfile.open(raw, "a", format=tarfile.PAX_FORMAT) as tar:
        maker(tar, canary)
    subprocess.run(["zstd", "-q", "--rm", "-f", raw, "-o", path + ".tar.zst"], check=True)


def no_shell():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        file(tar, "./etc/passwd")
    return out.getvalue()


def main():
    template, directory, canary = sys.argv[1:]
    base = subprocess.run(["zstd", "-dcq", template], check=True, stdout=subprocess.PIPE).stdout
    for name, (maker, expected) in HARMLESS_OR_REFUSED.items():
        write(f"{directory}/{name}", base, maker, canary)
        print(name, expected)
    with open(template, "rb") as good:
        packed = good.read()
    broken = {
        "truncated.tar.zst": packed[: len(packed) // 2],
        "flipped.tar.zst": packed[:5000] + bytes([packed[5000] ^ 0x55]) + packed[5001:],
        "truncated.tar": base[: len(base) // 2],
        "truncated.tar.gz": gzip.compress(base, 1)[:-5000],
        "text.tar": b"not an archive\n" * 100,
        "empty.tar": b"",
        "nothing.tar": bytes(10240),
        "noshell.tar": no_shell(),
    }
    for name, data in broken.items():
        with open(f"{directory}/{name}", "wb") as out:
            out.write(data)
        print(name, BAD_TEMPLATE)


if __name__ == "__main__":
    main()

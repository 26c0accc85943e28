#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every source file names its licence in its first three lines, and it is the one that its place in the tree asks for."""
import pathlib
import subprocess
import sys

RULES = [  # first match wins
    ("kmod/include/uapi/", "GPL-2.0 WITH Linux-syscall-note"),
    ("kmod/", "GPL-2.0-only"),
    ("bpf/", "GPL-2.0-only"),
    ("libvz/CMakeLists.txt", "GPL-2.0-or-later"),
    ("libvz/", "LGPL-2.1-or-later"),
    ("python/vz/", "LGPL-2.1-or-later"),
    ("", "GPL-2.0-or-later"),
]
SUFFIXES = {".c", ".cc", ".h", ".py", ".sh", ".cmake", ".in", ".map", ".rst", ".conf", ".service", ".bash"}
NAMES = {"CMakeLists.txt", "run", "setup", "quickstart", "check"}


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=root, check=True,
                           capture_output=True, text=True).stdout.split("\n")
    wrong, count = [], 0
    for name in filter(None, files):
        path = root / name
        if not path.is_file() or not (path.suffix in SUFFIXES or path.name in NAMES) or name.startswith("tests/data/"):
            continue
        count += 1
        licence = next(l for prefix, l in RULES if name.startswith(prefix))
        head = "\n".join(path.read_text(errors="replace").splitlines()[:3])
        if f"SPDX-License-Identifier: {licence}" not in head:
            wrong.append(f"{name}: expected SPDX-License-Identifier: {licence} in the first three lines")
    print("\n".join(wrong) if wrong else f"spdx: {count} files")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The only allowed arrows between the layers (Documentation/design.rst), checked on every #include.

Exit status 1 and one line per wrong include: FILE:LINE: LAYER may not include WHAT (allowed: ...).
`layers.py --self-test` proves that the check can fail.
"""
import pathlib
import re
import sys
import tempfile

# layer -> prefixes of project headers that it may include. <vz/...> is the public vocabulary.
VOCABULARY = ["vz/error.h", "vz/ctid.h", "vz/reporter.h", "vz/features.h", "vz/http.h", "vz/version.h"]
LAYERS = {
    "libvz/include/vz": ["vz/"],
    "libvz/base": ["libvz/base/", *VOCABULARY],
    "libvz/kernel": ["libvz/kernel/", "libvz/base/", "bpf/vz_maps.h", "kmod/include/uapi/linux/vz.h", *VOCABULARY],
    "libvz/container": ["libvz/container/", "libvz/kernel/", "libvz/base/", "vz/"],
    "vzctl": ["vzctl/", "vz/"],
    "bench": ["bench/", "libvz/", "vz/"],  # measures what plan() costs, too
}
# System interfaces that only libvz/kernel may use: everything else asks it.
KERNEL_ONLY = re.compile(r"^(linux/|sys/(mount|syscall|ioctl|socket|un|epoll|inotify|prctl|wait|vfs|statfs)\.h|"
                         r"sched\.h|netlink/|bpf/|seccomp\.h|blkid/|libmount/)")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
PROJECT = re.compile(r"^(vz|libvz|vzctl|bench|kmod|bpf|tests)/")


def layer_of(path):
    best = max((l for l in LAYERS if path.startswith(l + "/")), key=len, default=None)
    return best


def check(root):
    wrong = []
    files = [p for l in LAYERS for p in (root / l).rglob("*") if p.suffix in (".h", ".cc", ".in")]
    for path in sorted(set(files)):
        rel = path.relative_to(root).as_posix()
        layer = layer_of(rel)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            name = found.group(2)
            ours = name.startswith("vz/") if found.group(1) == "<" else PROJECT.match(name)  # <bpf/bpf.h> is libbpf
            if ours and not any(name.startswith(p) for p in LAYERS[layer]):
                wrong.append(f"{rel}:{number}: {layer} may not include {name} (allowed: {', '.join(LAYERS[layer])})")
            if layer in ("libvz/base", "libvz/container", "libvz/include/vz") and KERNEL_ONLY.match(name):
                wrong.append(f"{rel}:{number}: {layer} may not include <{name}>: only libvz/kernel talks to the kernel")
    return wrong, len(files)


def self_test():
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        for rel, text in {"libvz/base/a.h": '#include "libvz/kernel/b.h"\n', "vzctl/m.cc": '#include "libvz/base/a.h"\n',
                          "libvz/container/c.cc": "#include <sys/mount.h>\n", "libvz/kernel/k.cc": "#include <vz/error.h>\n"
                          }.items():
            (root / rel).parent.mkdir(parents=True, exist_ok=True)
            (root / rel).write_text(text)
        wrong, _ = check(root)
    assert len(wrong) == 3, wrong


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    wrong, count = check(pathlib.Path(__file__).resolve().parents[2])
    print("\n".join(wrong) if wrong else f"layers: {count} files, every include follows the arrows")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree a guest finds at /vz: src, build, template, and lab (the guest's scripts and this run's settings).

Source and build tree are snapshots, so that editing and building go on during a run. The build
tree is hard-linked (compilers and linkers replace files, they do not write into them), the source
copied (editors do write into them).
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent
NOT_FOR_GUESTS = {"CMakeFiles", ".cmake", "_deps"}


def link_tree(source, target):
    """Hard-link a build tree without the compiler's intermediate files."""
    for directory, names, files in os.walk(source):
        names[:] = [n for n in names if n not in NOT_FOR_GUESTS]
        there = Path(target, os.path.relpath(directory, source))
        there.mkdir(parents=True, exist_ok=True)
        for name in files:
            if not name.endswith((".o", ".a")):
                os.link(Path(directory, name), there / name, follow_symlinks=False)


def copy_source(source, target):
    """Copy what git knows or would add; everything but build trees where there is no git."""
    listing = subprocess.run(["git", "-C", source, "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if listing.returncode:
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(".git", "build*"))
        return
    for name in filter(None, listing.stdout.split(b"\0")):
        copy_file(os.path.join(os.fsencode(source), name), os.path.join(os.fsencode(target), name))


def copy_file(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        shutil.copy2(source, target, follow_symlinks=False)
    except FileNotFoundError:
        pass  # deleted in the work tree, or by a neighbour just now


def write_settings(lab, settings):
    lines = [f"{key}={shlex.quote(str(value))}\n" for key, value in settings.items()]
    (lab / "settings").write_text("".join(lines))


def make_key(lab):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vz-lab", "-f", lab / "key"], check=True)


def make_share(directory, source, build, command, settings, with_key, templates=None):
    """Fill directory with src, build, lab, and template/cache where this machine has OS templates."""
    lab = directory / "lab"
    shutil.copytree(LAB / "guest", lab / "guest")
    (directory / "src").mkdir()
    copy_source(source, directory / "src")
    (directory / "build").mkdir()
    if build:
        link_tree(build, directory / "build")
    if templates and templates.is_dir():
        link_tree(templates, directory / "template" / "cache")
    (lab / "command").write_bytes(b"".join(os.fsencode(arg) + b"\0" for arg in command))
    write_settings(lab, settings)
    if with_key:
        make_key(lab)

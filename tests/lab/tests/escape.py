# SPDX-License-Identifier: GPL-2.0-or-later
"""What a container's root tries to get out of its project quota."""
import pathlib

from quotafs import project_of
from vzhost import run

EPERM, EINVAL, ENOSYS = 1, 22, 38
# Each with the errors that are a refusal.
REFUSALS = {"setproject file": {EINVAL, EPERM}, "setproject dir": {EINVAL, EPERM}, "uninherit dir": {EINVAL, EPERM},
            "unflag dir": {EINVAL, EPERM}, "setproject as user namespace": {EINVAL, EPERM}, "setquota": {EPERM}, "xsetqlim": {EPERM},
            "quotaoff": {EPERM}, "getquota": {EPERM}, "file_setattr": {EINVAL, EPERM, ENOSYS}, "by handle": {EPERM}}
ESCAPE_C = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#define CMD(c, t) (((c) << 8) | (t))
static void say(const char *what, long r) { printf("%s %d\n", what, r < 0 ? errno : 0); fflush(stdout); }
static long project(const char *path, unsigned id, int inherit) {
  struct fsxattr x; int fd = open(path, O_RDONLY);
  if (ioctl(fd, FS_IOC_FSGETXATTR, &x)) return -1;
  if (id) x.fsx_projid = id;
  if (!inherit) x.fsx_xflags &= ~FS_XFLAG_PROJINHERIT;
  return ioctl(fd, FS_IOC_FSSETXATTR, &x);
}
struct attr { unsigned long long xflags; unsigned extsize, nextents, projid, cowextsize; };
int main(int argc, char **argv) {
  struct fs_disk_quota q = { .d_version = 1, .d_fieldmask = FS_DQ_BHARD };
  struct if_dqblk d = {0};
  int root = open("/", O_RDONLY), flags = 0, dir = open(argv[2], O_RDONLY);
  struct attr a = { .projid = 7 };
  struct { struct file_handle h; char bytes[128]; } handle = { .h.handle_bytes = 128 };
  say("setproject file", project(argv[1], 7, 1));
  say("setproject dir", project(argv[2], 7, 1));
  say("uninherit dir", project(argv[2], 0, 0));
  ioctl(dir, FS_IOC_GETFLAGS, &flags); flags &= ~0x20000000; say("unflag dir", ioctl(dir, FS_IOC_SETFLAGS, &flags));
  say("setquota", syscall(SYS_quotactl_fd, root, CMD(Q_SETQUOTA, 2), 0x70000000, &d));
  say("xsetqlim", syscall(SYS_quotactl_fd, root, CMD(Q_XSETQLIM, 2), 0x70000000, &q));
  say("quotaoff", syscall(SYS_quotactl_fd, root, CMD(Q_QUOTAOFF, 2), 0, 0));
  say("getquota", syscall(SYS_quotactl_fd, root, CMD(Q_GETQUOTA, 2), 0x70000000, &d));
  say("file_setattr", syscall(469, AT_FDCWD, argv[1], &a, sizeof a, 0));
  say("by handle", syscall(SYS_open_by_handle_at, root, &handle, O_RDONLY));
  if (unshare(CLONE_NEWUSER)) errno = EPERM;
  say("setproject as user namespace", project(argv[1], 7, 1));
  return 0;
}
"""


def check_out_of_reach(case, ctid, tree):
    """Compiled here, run inside: project ids, inheritance, limits, the quota's files."""
    source = pathlib.Path("/tmp/escape.c")
    source.write_text(ESCAPE_C)
    run(["gcc", "-static", "-o", tree / "escape", source], check=0)
    result = case.inside(ctid, "touch /mine; mkdir /dir; /escape /mine /dir", check=None)
    for line in result.splitlines():
        with case.subTest(line=line):
            what, err = line.rsplit(" ", 1)
            case.assertIn(int(err), REFUSALS[what.split(":")[0]], line)
    case.assertEqual(len(result.splitlines()), len(REFUSALS), result)
    project = project_of(tree)
    case.assertEqual(project_of(tree / "mine")[0], project[0])
    case.assertEqual(project_of(tree / "dir"), project)

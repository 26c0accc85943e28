# SPDX-License-Identifier: GPL-2.0-or-later
"""What a container's root tries to get out of its project quota, or to make of its image."""
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

# On the file system of an image: to grow it, to end it, to reach what lies below it, to switch its quotas.
IMAGE_C = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/quota.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static void say(const char *what, long r) { printf("%s %d\n", what, r < 0 ? errno : 0); fflush(stdout); }
int main(int argc, char **argv) {
  int root = open("/", O_RDONLY), format = 4, device; struct stat st; char label[256] = "mine";
  unsigned long long blocks = 1 << 20; unsigned long more = 1 << 20; unsigned how = 0;
  struct fstrim_range range = { .len = ~0ULL };
  say("resize", ioctl(root, _IOW('f', 16, unsigned long long), &blocks));
  say("extend a group", ioctl(root, _IOW('f', 7, unsigned long), &more));
  say("shut down", ioctl(root, _IOR('X', 125, unsigned), &how));
  say("swap the boot loader", ioctl(open("/mine", O_RDWR | O_CREAT, 0600), _IO('f', 17)));
  say("label", ioctl(root, FS_IOC_SETFSLABEL, label));
  say("freeze", ioctl(root, FIFREEZE, 0));
  say("trim", ioctl(root, FITRIM, &range));
  say("quotaon", syscall(SYS_quotactl_fd, root, QCMD(Q_QUOTAON, USRQUOTA), format, "/mine"));
  say("quotaoff", syscall(SYS_quotactl_fd, root, QCMD(Q_QUOTAOFF, USRQUOTA), 0, 0));
  say("remount", mount("none", "/", 0, MS_REMOUNT, "noquota"));
  say("open the device", open(argv[1], O_RDWR));
  say("look at the device", open(argv[1], O_RDONLY));
  stat(argv[1], &st);
  say("a device of its own", (long)mknod("/dev/mine", S_IFBLK | 0600, st.st_rdev));
  device = open("/dev/mine", O_RDWR);
  say("open that", device);
  say("grow the device", ioctl(device, LOOP_SET_CAPACITY, 0));
  return 0;
}
"""
# EBADF: there is nothing that could be grown. EROFS, EBUSY: refused before anybody asks who wants it.
IMAGE_REFUSALS = {"open that": {EPERM, 2, 13, 6}, "look at the device": {EPERM, 13, 6}, "open the device": {EPERM, 13, 6},
                  "grow the device": {EPERM, 9}, "a device of its own": {EPERM}, "remount": {EPERM, EINVAL, 13}}


def check_image_out_of_reach(case, ctid, special):
    """Compiled here, run inside a container of the image layout, whose file system has the device `special` there."""
    program = pathlib.Path("/tmp/image_escape")
    program.with_suffix(".c").write_text(IMAGE_C)
    run(["gcc", "-static", "-o", program, program.with_suffix(".c")], check=0)
    case.inside(ctid, "cat >/image_escape; chmod +x /image_escape", stdin=program.read_bytes())
    before = case.inside(ctid, "stat -f -c '%b %c' /")
    said = case.inside(ctid, f"/image_escape {special}", check=None)
    lines = said.splitlines()
    case.assertEqual(len(lines), 15, said)
    for line in lines:
        with case.subTest(line=line):
            what, err = line.rsplit(" ", 1)
            case.assertIn(int(err), IMAGE_REFUSALS.get(what, {EPERM}), line)
    case.assertEqual(case.inside(ctid, "stat -f -c '%b %c' /"), before)
    case.inside(ctid, "echo alive >/alive; sync")


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

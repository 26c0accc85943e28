// SPDX-License-Identifier: LGPL-2.1-or-later
// The mount tree of a container, built by its init. The image below it is hostile: targets are opened without
// following a symlink, and mounts are attached to descriptors.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <linux/openat2.h>

#include "libvz/kernel/init_plan.h"

namespace vz {

namespace {

struct Option {
  const char* key;
  const char* value;  // nullptr: a flag
};

constexpr unsigned kAttach = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

// Files of /proc that describe the host or its kernel; the user namespace denies what is dangerous in the others
// (verified: /proc/sys outside of net, kernel/{hostname,domainname,sem,shm*,msg*}, fs/mqueue, user is not writable).
constexpr const char* kMaskedFiles[] = {"proc/kcore",       "proc/keys",          "proc/timer_list",
                                        "proc/sched_debug", "proc/latency_stats", "proc/sysrq-trigger",
                                        "proc/kallsyms",    "proc/key-users"};
constexpr const char* kMaskedDirectories[] = {
    "proc/acpi",          "proc/scsi",           "proc/asound", "sys/firmware",  "sys/kernel/debug",
    "sys/kernel/tracing", "sys/kernel/security", "sys/fs/bpf",  "sys/fs/pstore", "sys/devices/virtual/powercap"};

class MountTree {
 public:
  MountTree(const InitPlan& plan, const InitReport& report) : plan_(plan), report_(report) {}
  int build();

 private:
  int open_target(int dir, const char* path, unsigned flags) const;
  int directory(int parent, const char* name, mode_t mode) const;
  int create(const char* fstype, std::initializer_list<Option> options, unsigned attrs) const;
  void attach(int mount, int target, const char* name) const;
  void mount_dev(int dev) const;
  void mount_cgroup(int sys) const;
  void make_links(int dev) const;
  void bind_nodes(int dev) const;
  void bind_files() const;
  void bind_proc_files(int dev) const;
  void mask() const;
  void mask_one(const char* path, int source, const char* name, unsigned kind) const;
  int make_console(int dev, int pts) const;
  int file(int dir, const char* path) const;
  void pivot() const;

  const InitPlan& plan_;
  const InitReport& report_;
};

int MountTree::open_target(int dir, const char* path, unsigned flags) const {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW | flags;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  return static_cast<int>(::syscall(SYS_openat2, dir, path, &how, sizeof how));
}

// Opens a directory right below `parent`, made when missing. A symlink or a file is an error.
int MountTree::directory(int parent, const char* name, mode_t mode) const {
  int fd = open_target(parent, name, O_DIRECTORY);
  if (fd < 0 && errno == ENOENT) {
    report_.check(::mkdirat(parent, name, mode), InitStep::make_file, name);
    fd = open_target(parent, name, O_DIRECTORY);
  }
  return report_.check(fd, InitStep::find_target, name);
}

// A detached mount of a new file system of this user namespace, or -1.
int MountTree::create(const char* fstype, std::initializer_list<Option> options, unsigned attrs) const {
  int context = ::fsopen(fstype, FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  int rc = ::fsconfig(context, FSCONFIG_SET_STRING, "source", fstype, 0);
  for (const auto& o : options)
    if (rc == 0) rc = ::fsconfig(context, o.value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o.key, o.value, 0);
  if (rc == 0) rc = ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  int mount = rc == 0 ? ::fsmount(context, FSMOUNT_CLOEXEC, attrs) : -1;
  int err = errno;
  (void)::close(context);
  errno = err;
  return mount;
}

void MountTree::attach(int mount, int target, const char* name) const {
  report_.check(::move_mount(mount, "", target, "", kAttach), InitStep::attach, name);
}

// Makes an empty file to mount on, in our own new file system.
int MountTree::file(int dir, const char* path) const {
  int fd = ::openat(dir, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0);
  return report_.check(fd, InitStep::make_file, path);
}

void MountTree::mount_cgroup(int sys) const {
  if (!plan_.cgroup2) return;
  int mount = create("cgroup2", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (mount < 0 && errno == ENODEV) return;
  report_.check(mount, InitStep::new_file_system, "cgroup2");
  int target = report_.check(open_target(sys, "fs/cgroup", O_DIRECTORY), InitStep::find_target, "/sys/fs/cgroup");
  attach(mount, target, "/sys/fs/cgroup");
}

void MountTree::make_links(int dev) const {
  constexpr Option links[] = {{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
                              {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
                              {"core", "/proc/kcore"},       {"ptmx", "pts/ptmx"}};
  for (const auto& link : links) report_.check(::symlinkat(link.value, dev, link.key), InitStep::make_file, link.key);
}

// Each node becomes a mount of its own: a file system of a user namespace can hold no working device node. The file
// system that holds them is in this mount namespace for the moment of cloning only.
void MountTree::bind_nodes(int dev) const {
  int holder = directory(dev, ".nodes", 0700);
  attach(plan_.device_tmpfs.get(), holder, "/dev");
  for (const auto& node : plan_.nodes) {
    const char* name = node.target.c_str();
    if (const char* slash = std::strchr(name, '/')) {
      char parent[64] = {};
      std::memcpy(parent, name, std::min(sizeof parent - 1, static_cast<std::size_t>(slash - name)));
      (void)::close(directory(dev, parent, 0755));
    }
    int source = ::open_tree(plan_.device_tmpfs.get(), node.source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    report_.check(source, InitStep::bind, name);
    int target = file(dev, name);
    attach(source, target, name);
    (void)::close(target);
    (void)::close(source);
  }
}

int MountTree::make_console(int dev, int pts) const {
  int master = report_.check(::openat(pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), InitStep::console, "/dev/pts/ptmx");
  int unlock = 0;
  unsigned number = 0;
  report_.check(::ioctl(master, TIOCSPTLCK, &unlock), InitStep::console, "/dev/pts/ptmx");
  report_.check(::ioctl(master, TIOCGPTN, &number), InitStep::console, "/dev/pts/ptmx");
  const char name[2] = {static_cast<char>('0' + number % 10), '\0'};  // the first one of a new devpts: 0
  int slave = ::open_tree(pts, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  report_.check(slave, InitStep::console, "/dev/pts/0");
  attach(slave, file(dev, "console"), "/dev/console");
  return master;
}

void MountTree::mount_dev(int dev) const {
  constexpr unsigned kData = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  int shm = create("tmpfs", {{"mode", "1777"}}, kData);
  report_.check(shm, InitStep::new_file_system, "tmpfs");
  attach(shm, directory(dev, "shm", 0755), "/dev/shm");
  int mqueue = create("mqueue", {}, kData | MOUNT_ATTR_NOEXEC);
  if (mqueue >= 0) attach(mqueue, directory(dev, "mqueue", 0755), "/dev/mqueue");
  if (plan_.owner_dir) attach(plan_.owner_dir.get(), directory(dev, "vz", 0755), "/dev/vz");
  make_links(dev);
  bind_nodes(dev);
}

void MountTree::bind_files() const {
  for (const auto& bind : plan_.binds) {
    const char* name = bind.target.c_str();
    int target = report_.check(open_target(plan_.root.get(), name, 0), InitStep::find_target, name);
    attach(bind.mount.get(), target, name);
    (void)::close(target);
  }
}

// A file of a detached mount cannot be cloned (before Linux 6.15): it is attached to a holder as the device nodes are.
void MountTree::bind_proc_files(int dev) const {
  if (!plan_.proc_mount) return;
  int holder = directory(dev, ".proc", 0700);
  attach(plan_.proc_mount.get(), holder, "/proc");
  (void)::close(holder);
  int proc = report_.check(open_target(plan_.root.get(), "proc", O_DIRECTORY), InitStep::find_target, "/proc");
  for (const auto& file : plan_.proc_files) {
    const char* name = file.source.c_str();
    int source = ::open_tree(plan_.proc_mount.get(), name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    report_.check(source, InitStep::bind, name);
    name = file.target.c_str();
    int target = report_.check(open_target(proc, name, 0), InitStep::find_target, name);
    attach(source, target, name);
    (void)::close(target);
    (void)::close(source);
  }
  (void)::close(proc);
}

// Covers `path` with a clone of `source`/`name`. What this kernel does not have needs no cover.
void MountTree::mask_one(const char* path, int source, const char* name, unsigned kind) const {
  int target = open_target(plan_.root.get(), path, kind);
  if (target < 0) return;
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*name ? 0u : unsigned{AT_EMPTY_PATH});
  int cover = report_.check(::open_tree(source, name, flags), InitStep::bind, path);
  attach(cover, target, path);
  (void)::close(cover);
  (void)::close(target);
}

void MountTree::mask() const {
  if (!plan_.masks) return;
  for (const char* path : kMaskedFiles) mask_one(path, plan_.device_tmpfs.get(), "null", 0);
  int empty = -1;
  for (const char* path : kMaskedDirectories) {
    if (empty >= 0) {
      mask_one(path, empty, "", O_DIRECTORY);
      continue;
    }
    // The first one carries the file system, the others are clones of its mount.
    int target = open_target(plan_.root.get(), path, O_DIRECTORY);
    if (target < 0) continue;
    constexpr unsigned kEmpty = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    empty = create("tmpfs", {{"size", "4k"}, {"nr_inodes", "2"}, {"mode", "555"}}, kEmpty);
    report_.check(empty, InitStep::new_file_system, "tmpfs");
    attach(empty, target, path);
    (void)::close(target);
  }
}

// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is taken off.
void MountTree::pivot() const {
  report_.check(::fchdir(plan_.root.get()), InitStep::pivot, "chdir");
  report_.check(static_cast<int>(::syscall(SYS_pivot_root, ".", ".")), InitStep::pivot, "pivot_root");
  report_.check(::umount2(".", MNT_DETACH), InitStep::pivot, "umount");
  report_.check(::chdir("/"), InitStep::pivot, "chdir");
}

int MountTree::build() {
  constexpr unsigned kKernel = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  report_.check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), InitStep::private_mounts);
  // Before the host's /proc and /sys are gone: a user namespace gets new ones only where it sees complete ones.
  int proc = report_.check(create("proc", {}, kKernel), InitStep::new_file_system, "proc");
  int sys = report_.check(create("sysfs", {}, kKernel | MOUNT_ATTR_RDONLY), InitStep::new_file_system, "sysfs");

  int root = plan_.root.get();
  report_.check(::move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), InitStep::attach_root);
  attach(proc, directory(root, "proc", 0555), "/proc");
  attach(sys, directory(root, "sys", 0555), "/sys");
  mount_cgroup(sys);

  int dev = create("tmpfs", {{"mode", "755"}, {"size", "1m"}, {"nr_inodes", "8k"}}, MOUNT_ATTR_NOSUID);
  report_.check(dev, InitStep::new_file_system, "tmpfs");
  attach(dev, directory(root, "dev", 0755), "/dev");
  mount_dev(dev);
  int pts = create("devpts",
                   {{"newinstance", nullptr}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}, {"max", "1024"}},
                   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  report_.check(pts, InitStep::new_file_system, "devpts");
  attach(pts, directory(dev, "pts", 0755), "/dev/pts");
  int master = make_console(dev, pts);

  int run = create("tmpfs", {{"mode", "755"}, {"size", "20%"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  report_.check(run, InitStep::new_file_system, "tmpfs");
  attach(run, directory(root, "run", 0755), "/run");
  // Takes inode 2 of this file system, and stays: CRIU mistakes a watched directory with the number that the
  // container's root has (2 on ext4) for that root.
  (void)::close(directory(run, "host", 0755));
  bind_files();
  bind_proc_files(dev);
  mask();
  pivot();
  report_.check(::umount2("/dev/.nodes", MNT_DETACH | UMOUNT_NOFOLLOW), InitStep::bind, "/dev/.nodes");
  report_.check(::unlinkat(dev, ".nodes", AT_REMOVEDIR), InitStep::bind, "/dev/.nodes");
  if (plan_.proc_mount) {
    report_.check(::umount2("/dev/.proc", MNT_DETACH | UMOUNT_NOFOLLOW), InitStep::bind, "/dev/.proc");
    report_.check(::unlinkat(dev, ".proc", AT_REMOVEDIR), InitStep::bind, "/dev/.proc");
  }
  return master;
}

}  // namespace

int build_mount_tree(const InitPlan& plan, const InitReport& report) { return MountTree(plan, report).build(); }

}  // namespace vz

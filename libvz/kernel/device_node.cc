// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/device_node.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/fsid.h"
#include "libvz/kernel/mount.h"

namespace vz {

namespace {

constexpr unsigned kLoopMajor = 7;

// In the container's mount namespace, below its root: no symlink anywhere in the name counts.
UniqueFd open_below(int dirfd, const char* path, std::uint64_t flags, std::uint64_t mode = 0) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(syscall(SYS_openat2, dirfd, path, &how, sizeof how)));
}

// Runs `fn` (only system calls) in a child; its return value is an errno.
template <class Fn>
Result<> in_child(const std::string& what, Fn fn) {
  pid_t pid = fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) _exit(fn());
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  int err = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
  if (err == 0) return {};
  return tl::unexpected<Error>(Error::from_errno(err, what, Code::devices));
}

// A file system with one node, "node", that no path of the host leads to.
Result<UniqueFd> make_node_tmpfs(IdMap idmap, const DeviceNode& node) {
  auto tmpfs = VZ_TRY(new_mount("tmpfs", {{"mode", "0755"}, {"size", "64k"}}, MOUNT_ATTR_NOSUID));
  mode_t type = node.type == 'b' ? S_IFBLK : S_IFCHR;
  if (mknodat(tmpfs.get(), "node", type | node.mode, makedev(node.major, node.minor)) != 0 ||
      fchownat(tmpfs.get(), "node", idmap.base, idmap.base, AT_SYMLINK_NOFOLLOW) != 0 ||
      fchmodat(tmpfs.get(), "node", node.mode, 0) != 0)
    return fail_errno("make device node " + node.name, Code::devices);
  return tmpfs;
}

// A bind mount of the node, -1 and errno on failure. open_tree(2) before Linux 6.15 clones only what is attached in the
// caller's mount namespace: it is, for that moment, in one that ends with this child.
UniqueFd clone_node(int tmpfs) {
  constexpr unsigned kAttach = MOVE_MOUNT_F_EMPTY_PATH;
  if (unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      syscall(SYS_move_mount, tmpfs, "", AT_FDCWD, "/", kAttach) != 0)
    return {};
  return UniqueFd(static_cast<int>(syscall(SYS_open_tree, tmpfs, "node", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
}

int attach_below_dev(int mount_fd, const std::string& path, IdMap idmap) {
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  // Files on the container's tmpfs can only be made with an id that it maps.
  FsIdentity identity(idmap.base, idmap.base);
  for (std::size_t slash = path.find('/', 5); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    UniqueFd parent = open_below(root.get(), path.substr(0, path.rfind('/', slash - 1)).c_str(), O_PATH | O_DIRECTORY);
    std::size_t begin = path.rfind('/', slash - 1) + 1;
    if (!parent || (mkdirat(parent.get(), path.substr(begin, slash - begin).c_str(), 0755) != 0 && errno != EEXIST))
      return errno;
  }
  UniqueFd file = open_below(root.get(), path.c_str(), O_CREAT | O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (!file && errno != ENXIO && errno != EACCES && errno != EPERM) return errno;
  UniqueFd target = open_below(root.get(), path.c_str(), O_PATH | O_NOFOLLOW);
  if (!target) return errno;
  return syscall(SYS_move_mount, mount_fd, "", target.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0
             ? 0
             : errno;
}

int detach_below_dev(const std::string& path) {
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  auto slash = path.rfind('/');
  UniqueFd parent = open_below(root.get(), path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY);
  if (!parent) return errno == ENOENT ? 0 : errno;
  if (fchdir(parent.get()) != 0) return errno;
  auto name = path.substr(slash + 1);
  if (umount2(name.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT) return errno;
  return unlinkat(parent.get(), name.c_str(), 0) == 0 || errno == ENOENT ? 0 : errno;
}

}  // namespace

Result<DeviceNode> read_device_node(const std::string& name) {
  auto bad = [&](const std::string& why) {
    return fail(
        Error(Code::devices, fmt::format("--devnodes {}: {}", name, why)).with_hint("name a device below /dev"));
  };
  if (name.empty() || name[0] == '/' || name.find("..") != std::string::npos) return bad("not a name below /dev");
  struct stat st {};
  if (::stat(("/dev/" + name).c_str(), &st) != 0) return bad(std::strerror(errno));
  if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) return bad("not a device");
  DeviceNode node;
  node.name = name;
  node.type = S_ISBLK(st.st_mode) ? 'b' : 'c';
  node.major = major(st.st_rdev);
  node.minor = minor(st.st_rdev);
  node.mode = st.st_mode & 0777;
  if (node.type == 'b' && node.major == kLoopMajor) return bad("loop devices cannot be given to a container");
  return node;
}

std::string device_file_name(std::string name) {
  std::replace(name.begin(), name.end(), '/', '!');
  return name;
}

Result<UniqueFd> make_device_tmpfs(const std::vector<DeviceNode>& devices, IdMap idmap) {
  auto tmpfs = VZ_TRY(new_mount("tmpfs", {{"mode", "755"}, {"size", "64k"}, {"nr_inodes", "1k"}}, MOUNT_ATTR_NOSUID));
  for (const auto& node : devices) {
    std::string name = device_file_name(node.name);
    mode_t type = node.type == 'b' ? S_IFBLK : S_IFCHR;
    if (::mknodat(tmpfs.get(), name.c_str(), type, ::makedev(node.major, node.minor)) < 0)
      return fail_errno("make the device node " + node.name, Code::devices);
    if (node.for_show) continue;
    if (::fchownat(tmpfs.get(), name.c_str(), idmap.base, idmap.base, AT_SYMLINK_NOFOLLOW) < 0 ||
        ::fchmodat(tmpfs.get(), name.c_str(), node.mode & 07777, 0) < 0)
      return fail_errno("make the device node " + node.name, Code::devices);
  }
  return tmpfs;
}

Result<> attach_device_node(const UniqueFd& init_pidfd, IdMap idmap, const DeviceNode& node) {
  auto tmpfs = VZ_TRY(make_node_tmpfs(idmap, node));
  std::string path = "/dev/" + node.name;
  return in_child("add " + path + " in the container", [&] {
    UniqueFd mount = clone_node(tmpfs.get());
    if (!mount || setns(init_pidfd.get(), CLONE_NEWNS) != 0) return errno;
    return attach_below_dev(mount.get(), path, idmap);
  });
}

Result<> detach_device_node(const UniqueFd& init_pidfd, const std::string& name) {
  std::string path = "/dev/" + name;
  return in_child("remove " + path + " in the container",
                  [&] { return setns(init_pidfd.get(), CLONE_NEWNS) != 0 ? errno : detach_below_dev(path); });
}

}  // namespace vz

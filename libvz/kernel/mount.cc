// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <linux/stat.h>

#include "libvz/base/text.h"

namespace vz {

namespace {

// The kernel's own words about a failed fsconfig(2), "e ext4: ..."; "" when it left none.
std::string context_log(int context) {
  std::string out;
  char line[512];
  for (ssize_t n; (n = ::read(context, line, sizeof line)) > 2;) {
    if (!out.empty()) out += "; ";
    out += trim(std::string_view(line + 2, static_cast<std::size_t>(n) - 2));
  }
  return out;
}

tl::unexpected<Error> mount_error(int err, int context, const std::string& what) {
  std::string log = context_log(context);
  Error e = Error::from_errno(err, what, Code::mount);
  return fail(log.empty() ? std::move(e) : std::move(e).with_hint("the kernel says: " + log));
}

Result<> set_attr(int mount_fd, const mount_attr& attr, bool recursive, const char* what) {
  unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u);
  mount_attr copy = attr;
  if (::mount_setattr(mount_fd, "", flags, &copy, sizeof copy) < 0) return fail_errno(what, Code::mount);
  return {};
}

}  // namespace

Result<UniqueFd> new_mount(const char* fstype, const MountOptions& options, std::uint64_t attrs) {
  std::string what = std::string("mount ") + fstype;
  UniqueFd context(::fsopen(fstype, FSOPEN_CLOEXEC));
  if (!context) return fail_errno(what, Code::mount);
  for (const auto& [key, value] : options) {
    int rc = value.empty() ? ::fsconfig(context.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
                           : ::fsconfig(context.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0);
    if (rc < 0) {
      int err = errno;
      return mount_error(err, context.get(), what + ": option " + key + (value.empty() ? "" : "=" + value));
    }
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
    int err = errno;
    return mount_error(err, context.get(), what);
  }
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attrs)));
  if (!mount) {
    int err = errno;
    return mount_error(err, context.get(), what);
  }
  return mount;
}

Result<UniqueFd> clone_mount(int dirfd, const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (recursive) flags |= AT_RECURSIVE;
  if (path.empty()) flags |= AT_EMPTY_PATH;
  UniqueFd mount(::open_tree(dirfd, path.c_str(), flags));
  if (!mount) return fail_errno("clone the mount of " + (path.empty() ? "a descriptor" : path), Code::mount);
  // Where systemd runs, every mount of the host is shared, and so is a clone: nobody can pivot into one that is.
  mount_attr attr{};
  attr.propagation = MS_PRIVATE;
  VZ_TRY(set_attr(mount.get(), attr, recursive, "make a cloned mount private"));
  return mount;
}

Result<> set_idmap(int mount_fd, const UniqueFd& userns) {
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(userns.get());
  return set_attr(mount_fd, attr, true, "idmap a mount");
}

Result<> set_attrs(int mount_fd, std::uint64_t set, std::uint64_t clear, bool recursive) {
  mount_attr attr{};
  attr.attr_set = set;
  attr.attr_clr = clear;
  return set_attr(mount_fd, attr, recursive, "change a mount's flags");
}

Result<> attach_mount(int mount_fd, int dirfd, const std::string& path) {
  unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (path.empty() ? MOVE_MOUNT_T_EMPTY_PATH : 0u);
  if (::move_mount(mount_fd, "", dirfd, path.c_str(), flags) < 0)
    return fail_errno("attach a mount at " + (path.empty() ? "a descriptor" : path), Code::mount);
  return {};
}

Result<> detach_path(const std::string& path) {
  if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
    return fail_errno("unmount " + path, Code::umount);
  return {};
}

bool is_mount_point(const std::string& path) {
  struct statx st {};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &st) < 0) return false;
  return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

}  // namespace vz

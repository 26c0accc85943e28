// SPDX-License-Identifier: LGPL-2.1-or-later
// A container's tree seen from the host. Everything in it is hostile: names, symlinks, types, sizes.
#pragma once

#include <string>
#include <string_view>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Resolves every path with openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), as the container itself would:
// an absolute symlink leads into the tree, `..` never leaves it, /proc links are refused.
class Tree {
 public:
  explicit Tree(UniqueFd root) : root_(std::move(root)) {}
  static Result<Tree> open(const std::string& host_path);
  int fd() const { return root_.get(); }

  Result<UniqueFd> open(const std::string& path, int flags, mode_t mode = 0) const;
  // Regular files only (a FIFO or device is refused with EINVAL), at most `max` bytes.
  Result<std::string> read(const std::string& path, std::size_t max = 1u << 20) const;
  // Replaces a regular file through a temp file in the same directory; a symlink at the end is followed inside
  // the tree; owner uid/gid are set on the new file. Parent directories must exist.
  Result<> write(const std::string& path, std::string_view text, mode_t mode, uid_t uid, gid_t gid) const;
  // The same, but a symlink at the end is replaced itself instead of followed.
  Result<> replace(const std::string& path, std::string_view text, mode_t mode, uid_t uid, gid_t gid) const;
  Result<> make_dirs(const std::string& path, mode_t mode, uid_t uid, gid_t gid) const;
  bool exists(const std::string& path) const;

 private:
  UniqueFd root_;
};

}  // namespace vz

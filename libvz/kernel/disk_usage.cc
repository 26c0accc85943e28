// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/disk_usage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "libvz/kernel/file.h"

namespace vz {

std::optional<DiskUsage> root_usage(pid_t pid, const std::string& trusted_path) {
  auto root = open_file("/proc/" + std::to_string(pid) + "/root", O_PATH | O_DIRECTORY);
  if (!root) return std::nullopt;
  // The device number is in the inode that the kernel has at hand; AT_STATX_DONT_SYNC asks no server for it.
  struct statx sx;
  if (::statx(root->get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &sx) != 0) return std::nullopt;
  if (sx.stx_dev_major == 0) {
    struct stat st;
    if (::stat(trusted_path.c_str(), &st) != 0 || st.st_dev != makedev(sx.stx_dev_major, sx.stx_dev_minor))
      return std::nullopt;
  }
  struct statfs fs;
  if (::fstatfs(root->get(), &fs) != 0) return std::nullopt;
  const auto block = static_cast<std::uint64_t>(fs.f_frsize ? fs.f_frsize : fs.f_bsize);
  return DiskUsage{(fs.f_blocks - fs.f_bfree) * block, fs.f_blocks * block, fs.f_files - fs.f_ffree, fs.f_files};
}

}  // namespace vz

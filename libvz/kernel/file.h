// SPDX-License-Identifier: LGPL-2.1-or-later
// Files of the host. For files in a container's tree use tree.h: their names are hostile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

Result<UniqueFd> open_at(int dirfd, const std::string& path, int flags, mode_t mode = 0);  // O_CLOEXEC is added
inline Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode = 0);

// Whole file as text. `max` bytes at most (EFBIG otherwise); works for /proc and /sys files whose size is 0.
Result<std::string> read_fd(int fd, std::size_t max = 16u << 20);
Result<std::string> read_file_at(int dirfd, const std::string& path, std::size_t max = 16u << 20);
Result<std::string> read_file(const std::string& path, std::size_t max = 16u << 20);

// One write(2) of the whole text, as kernel files want it; the file must exist.
Result<> write_kernel_file_at(int dirfd, const std::string& path, std::string_view text);
Result<> write_kernel_file(const std::string& path, std::string_view text);
Result<> write_all(int fd, std::string_view data);

// Temp file in the same directory, fsync, rename, fsync of the directory: the old or the new content,
// never a mix, also after a power cut. Follows a final symlink (as vzctl always did for ID.conf).
Result<> replace_file(const std::string& path, std::string_view text, mode_t mode);

bool exists(const std::string& path);
Result<> make_dirs(const std::string& path, mode_t mode);  // mkdir -p; existing is fine
Result<> remove_tree(const std::string& path);             // rm -rf by openat, never follows symlinks, missing is fine
Result<> remove_tree_at(int dirfd, const std::string& name);
Result<std::vector<std::string>> list_dir(const std::string& path);  // names without . and .., sorted
Result<std::vector<std::string>> list_dir_at(int dirfd, const std::string& path);

inline Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode) {
  return open_at(-100 /* AT_FDCWD */, path, flags, mode);
}

}  // namespace vz

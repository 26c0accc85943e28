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
// The same with O_NONBLOCK: from Linux 7.0 on, memory.max and memory.high then neither reclaim nor kill in the write.
Result<> write_kernel_file_nonblocking_at(int dirfd, const std::string& path, std::string_view text);
Result<> write_all(int fd, std::string_view data);

// Temp file in the same directory, fsync, rename, fsync of the directory: the old or the new content,
// never a mix, also after a power cut. Follows a final symlink (as vzctl always did for ID.conf).
Result<> replace_file(const std::string& path, std::string_view text, mode_t mode);

bool exists(const std::string& path);
Result<std::string> read_link(const std::string& path);  // the target as it is written
Result<std::string> read_link_at(int dir, const std::string& name);
Result<> make_dirs(const std::string& path, mode_t mode);  // mkdir -p; existing is fine
Result<> remove_tree(const std::string& path);             // rm -rf by openat, never follows symlinks, missing is fine
Result<> remove_tree_at(int dirfd, const std::string& name);
Result<std::vector<std::string>> list_dir(const std::string& path);  // names without . and .., sorted
Result<std::vector<std::string>> list_dir_at(int dirfd, const std::string& path);

// Exclusive flock(2) on a file made when missing, held until the descriptor is closed. Waits for other holders.
Result<UniqueFd> lock_file(const std::string& path);
Result<> set_file_size(int fd, std::uint64_t bytes);                // ftruncate(2): grows sparse
Result<> set_owner(const std::string& path, uid_t uid, gid_t gid);  // of a directory, not through a symlink
Result<> set_mode(const std::string& path, mode_t mode);
Result<> set_mode_of(int fd, mode_t mode);
Result<> make_symlink(const std::string& target, const std::string& path);
Result<uid_t> owner_of(int fd);
// Nobody but the caller's user can have written it: a regular file with one name, or (private) a directory that is
// closed to others too. Code::no_access says why not. O_PATH descriptors will do.
Result<> check_own_file(int fd);
Result<> check_own_private_dir(int fd);
Result<std::uint64_t> inode_of(int fd);
Result<std::int64_t> modification_time(int fd);  // seconds since the epoch
Result<> sync_file(int fd);                      // fsync(2); for a directory: its names
Result<> sync_file_system(int fd);               // syncfs(2); also reports write-back errors since `fd` was opened
Result<std::string> read_head(int fd, std::size_t bytes);  // pread(2) from offset 0: at most that many
Result<std::string> read_at(int fd, std::uint64_t offset, std::size_t bytes);  // the same from `offset`
Result<std::uint64_t> file_size(int fd);
Result<std::uint64_t> file_offset(int fd);  // shared with every process that inherited the descriptor

// statvfs(3) of the file system that holds `fd`: what an unprivileged writer can still take.
struct FreeSpace {
  std::uint64_t bytes = 0;
  std::uint64_t inodes = 0;
};
Result<FreeSpace> free_space(int fd);

inline Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode) {
  return open_at(-100 /* AT_FDCWD */, path, flags, mode);
}

}  // namespace vz

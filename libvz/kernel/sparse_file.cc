// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/sparse_file.h"

#include <cerrno>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vz {

Result<std::optional<Extent>> next_data(int fd, std::uint64_t offset) {
  off_t begin = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (begin < 0 && errno == ENXIO) return std::optional<Extent>();
  if (begin < 0) return fail_errno("lseek to data");
  off_t end = ::lseek(fd, begin, SEEK_HOLE);
  if (end < 0) return fail_errno("lseek to a hole");
  return Extent{static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end)};
}

Result<> write_at(int fd, std::uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("write");
    data.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<> punch_hole(int fd, std::uint64_t offset, std::uint64_t length) {
  if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(length)) == 0)
    return {};
  if (errno != EOPNOTSUPP) return fail_errno("punch a hole");
  const std::string zeroes(std::size_t{1} << 16, '\0');
  for (std::uint64_t done = 0; done < length; done += zeroes.size())
    VZ_TRY(write_at(fd, offset + done, std::string_view(zeroes).substr(0, length - done)));
  return {};
}

Result<bool> clone_file(int from, int to) {
  if (::ioctl(to, FICLONE, from) == 0) return true;
  if (errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL || errno == ENOTTY || errno == ENOSYS) return false;
  return fail_errno("clone a file");
}

Result<std::uint64_t> allocated_bytes(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return fail_errno("fstat");
  return static_cast<std::uint64_t>(st.st_blocks) * 512;
}

}  // namespace vz

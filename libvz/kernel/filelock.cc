// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/filelock.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {

namespace {

bool still_at(const std::string& path, int fd) {
  struct stat here, there;
  return ::fstat(fd, &here) == 0 && ::stat(path.c_str(), &there) == 0 && here.st_dev == there.st_dev &&
         here.st_ino == there.st_ino;
}

}  // namespace

Result<std::optional<UniqueFd>> try_lock_file(const std::string& path, mode_t mode) {
  for (;;) {
    UniqueFd fd = VZ_TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, mode));
    int done;
    do done = ::flock(fd.get(), LOCK_EX | LOCK_NB);
    while (done < 0 && errno == EINTR);
    if (done < 0 && errno == EWOULDBLOCK) return std::optional<UniqueFd>();
    if (done < 0) return fail_errno("lock " + path);
    if (still_at(path, fd.get())) return std::optional<UniqueFd>(std::move(fd));
  }
}

Result<> rewrite_file(const UniqueFd& fd, const std::string& text) {
  if (::ftruncate(fd.get(), 0) < 0 || ::lseek(fd.get(), 0, SEEK_SET) < 0) return fail_errno("truncate the lock file");
  return write_all(fd.get(), text);
}

void unlink_locked(const std::string& path, UniqueFd fd) {
  (void)::unlink(path.c_str());
  // A child between clone and exec may share the open file: closing alone would leave it locked.
  (void)::flock(fd.get(), LOCK_UN);
}

}  // namespace vz

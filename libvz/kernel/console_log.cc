// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/console_log.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {
namespace {

// Moves [from, size) to the start of the file. The regions overlap; copying forward is safe for from > 0.
Result<> drop_head(int fd, off_t from, off_t size) {
  char buffer[4096];
  off_t to = 0;
  while (from < size) {
    ssize_t n = ::pread(fd, buffer, sizeof buffer, from);
    if (n <= 0) break;
    if (::pwrite(fd, buffer, static_cast<std::size_t>(n), to) != n) return fail_errno("rewrite the console log");
    from += n;
    to += n;
  }
  if (::ftruncate(fd, to) < 0) return fail_errno("truncate the console log");
  return {};
}

}  // namespace

Result<> append_bounded(const std::string& path, std::string_view data, std::size_t max) {
  if (data.size() > max) data.remove_prefix(data.size() - max);
  UniqueFd fd = VZ_TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct stat st;
  if (::fstat(fd.get(), &st) < 0) return fail_errno("stat " + path);
  auto size = static_cast<std::size_t>(st.st_size);
  if (size + data.size() > max) {
    std::size_t keep = std::min(max - max / 4, max - data.size());
    std::size_t from = size > keep ? size - keep : 0;
    VZ_TRY(drop_head(fd.get(), static_cast<off_t>(from), static_cast<off_t>(size)));
  }
  if (::lseek(fd.get(), 0, SEEK_END) < 0) return fail_errno("seek in " + path);
  return write_all(fd.get(), data);
}

Result<UniqueFd> hold_slave(const UniqueFd& master) {
  int flags = ::fcntl(master.get(), F_GETFL);
  if (flags < 0 || ::fcntl(master.get(), F_SETFL, flags | O_NONBLOCK) < 0) return fail_errno("O_NONBLOCK of a console");
  UniqueFd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return fail_errno("TIOCGPTPEER of a console");
  return slave;
}

std::size_t drain_console(const UniqueFd& master, const std::string& log, std::size_t max) {
  std::size_t total = 0;
  char buffer[4096];
  while (total < max) {
    ssize_t n = ::read(master.get(), buffer, std::min(sizeof buffer, max - total));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    total += static_cast<std::size_t>(n);
    (void)append_bounded(log, {buffer, static_cast<std::size_t>(n)});
  }
  return total;
}

}  // namespace vz

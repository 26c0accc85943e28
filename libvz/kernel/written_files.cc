// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/written_files.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/inotify.h>
#include <unistd.h>

#include <fmt/format.h>

namespace vz {

Result<WrittenFiles> WrittenFiles::watch(int dir) {
  UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) return fail_errno("inotify_init1");
  constexpr std::uint32_t kMask = IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
  if (::inotify_add_watch(fd.get(), fmt::format("/proc/self/fd/{}", dir).c_str(), kMask) < 0)
    return fail_errno("inotify_add_watch");
  return WrittenFiles(std::move(fd));
}

Result<std::vector<WrittenFiles::Event>> WrittenFiles::take() {
  std::vector<Event> out;
  alignas(inotify_event) std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t n = ::read(fd_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return out;
    if (n < 0) return fail_errno("read inotify");
    for (std::size_t at = 0; at < static_cast<std::size_t>(n);) {
      inotify_event event;
      std::memcpy(&event, buffer.data() + at, sizeof event);
      // The name is padded with zeros.
      const char* name = buffer.data() + at + sizeof event;
      out.push_back({std::string(name, ::strnlen(name, event.len)), (event.mask & IN_CLOSE_WRITE) != 0});
      at += sizeof event + event.len;
    }
  }
}

}  // namespace vz

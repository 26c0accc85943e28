// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/dir_watch.h"

#include <cerrno>

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

namespace vz {

Result<DirWatch> DirWatch::create() {
  DirWatch watch;
  watch.fd_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.fd_) return fail_errno("inotify_init");
  return watch;
}

Result<> DirWatch::add(const std::string& path) {
  if (::inotify_add_watch(fd_.get(), path.c_str(), IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) < 0)
    return fail_errno("watch " + path);
  return {};
}

Result<> DirWatch::wait(std::optional<std::chrono::milliseconds> timeout) {
  pollfd p{fd_.get(), POLLIN, 0};
  if (::poll(&p, 1, timeout ? static_cast<int>(timeout->count()) : -1) < 0 && errno != EINTR)
    return fail_errno("poll inotify");
  char drop[4096];
  while (::read(fd_.get(), drop, sizeof drop) > 0) {
  }
  return {};
}

}  // namespace vz

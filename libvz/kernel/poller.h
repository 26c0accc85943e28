// SPDX-License-Identifier: LGPL-2.1-or-later
// epoll, and the signals that end a daemon, as vzd's loop needs them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include <sys/epoll.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

class Poller {
 public:
  static Result<Poller> create();
  // `events` are EPOLLIN and friends; 0 still reports EPOLLHUP and EPOLLERR. `token` comes back with each event.
  Result<> add(int fd, std::uint32_t events, std::uint64_t token);
  void modify(int fd, std::uint32_t events, std::uint64_t token);
  void remove(int fd);
  // Empty on timeout and on EINTR. The span is valid until the next wait.
  Result<std::span<const epoll_event>> wait(std::optional<std::chrono::milliseconds> timeout);
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  epoll_event events_[32];
};

// Whether `fd` is readable or hung up right now: an event may have been meant for an older descriptor of that number.
std::uint32_t poll_now(int fd);

// SIGTERM and SIGINT become readable; SIGHUP and SIGPIPE are ignored. The old mask comes back with the destructor.
class EndSignals {
 public:
  static Result<EndSignals> block();
  EndSignals(EndSignals&&) noexcept = default;
  EndSignals& operator=(EndSignals&&) = delete;
  ~EndSignals();
  int fd() const { return fd_.get(); }

 private:
  EndSignals() = default;
  UniqueFd fd_;
};

}  // namespace vz

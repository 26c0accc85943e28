// SPDX-License-Identifier: LGPL-2.1-or-later
// eventfd(2): a thread tells a loop that waits in epoll.
#pragma once

#include <cstdint>

#include <sys/eventfd.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

class EventCounter {
 public:
  EventCounter() = default;
  static Result<EventCounter> create() {
    EventCounter out;
    out.fd_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!out.fd_) return fail_errno("eventfd");
    return out;
  }
  int fd() const { return fd_.get(); }
  void add() const { (void)::eventfd_write(fd_.get(), 1); }
  void clear() const {
    eventfd_t value;
    (void)::eventfd_read(fd_.get(), &value);
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

}  // namespace vz

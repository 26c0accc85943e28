// SPDX-License-Identifier: LGPL-2.1-or-later
// A directory whose files somebody writes (inotify): which are closed and can be read, and which changed afterwards.
#pragma once

#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

class WrittenFiles {
 public:
  struct Event {
    std::string name;     // "": the kernel had to leave some out, anything may have changed
    bool closed = false;  // by one who may have written; else: changed, or gone
  };
  // From now on. `dir` may be closed.
  static Result<WrittenFiles> watch(int dir);
  int fd() const { return fd_.get(); }  // readable: there is something to take
  // In their order; does not wait. Events of what was done before this call are among them.
  Result<std::vector<Event>> take();

 private:
  explicit WrittenFiles(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace vz

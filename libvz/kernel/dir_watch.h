// SPDX-License-Identifier: LGPL-2.1-or-later
// Waits until names appear in directories (inotify), so that nobody has to poll for a socket or a state file.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

class DirWatch {
 public:
  static Result<DirWatch> create();
  // From now on, names made in or renamed into `path` count. Adding a directory twice is fine.
  Result<> add(const std::string& path);
  // Until something appeared since the last wait, or the timeout passed. EINTR counts as an event.
  Result<> wait(std::optional<std::chrono::milliseconds> timeout);

 private:
  UniqueFd fd_;
};

}  // namespace vz

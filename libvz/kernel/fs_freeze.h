// SPDX-License-Identifier: LGPL-2.1-or-later
// A mounted file system stopped for a moment (fsfreeze(8)): whoever writes to it waits, and its device holds all of it.
#pragma once

#include <chrono>
#include <utility>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// A process of its own freezes and thaws: if we die, or take longer than `limit`, it thaws at once, so that nothing
// inside ever waits for a vzctl that is gone.
class FrozenFs {
 public:
  // `mount_fd`: the root of a mount of it, not necessarily the one that the container sees.
  static Result<FrozenFs> freeze(int mount_fd, std::chrono::seconds limit);
  FrozenFs(FrozenFs&& other) noexcept : pid_(std::exchange(other.pid_, -1)), control_(std::move(other.control_)) {}
  FrozenFs& operator=(FrozenFs&&) = delete;
  ~FrozenFs();
  // Code::io when it had to be thawed before: what was read meanwhile belongs to no one moment.
  Result<> thaw();

 private:
  FrozenFs(pid_t pid, UniqueFd control) : pid_(pid), control_(std::move(control)) {}
  int end();

  pid_t pid_ = -1;
  UniqueFd control_;
};

}  // namespace vz

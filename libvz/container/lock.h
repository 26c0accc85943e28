// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include "libvz/base/fd.h"

namespace vz {

// LOCKDIR/ID.lck, "<pid>\n<status>\n" as OpenVZ wrote it, plus an flock(2) on the file so that a lock never outlives
// its process. Busy: Code::locked, message `Container already locked`, hint `Locked by: pid N, cmdline …`.
class CtLock {
 public:
  // Waits for what ends by itself soon, a repair or the last of a migration; for all else no longer than `patience`.
  static Result<CtLock> take(const Host& host, Ctid id, const std::string& status,
                             std::chrono::milliseconds patience = {});
  CtLock(CtLock&&) noexcept;
  CtLock& operator=(CtLock&&) noexcept;
  ~CtLock();
  // Held as long as any copy of it is open, in whatever process.
  int fd() const { return fd_.get(); }
  // Best effort: it is for whoever comes meanwhile.
  void set_status(const std::string& status) const;

 private:
  CtLock() = default;
  UniqueFd fd_;
  std::string path_;
};

// Of a lock whose holder puts memory into place while the container runs already.
inline constexpr const char* kPlacing = "placing memory";

// Ends the holder of a lock if it is `vzctl COMMAND`; Code::locked if it is something else, or does not end.
Result<> end_lock_holder(const Host& host, Ctid id, const std::string& command);

}  // namespace vz

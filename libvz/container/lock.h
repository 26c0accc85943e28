// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

// LOCKDIR/ID.lck, "<pid>\n<status>\n" as OpenVZ wrote it, plus an flock(2) on the file so that a lock never outlives
// its process. Busy: Code::locked, message `Container already locked`, hint `Locked by: pid N, cmdline …`.
class CtLock {
 public:
  static Result<CtLock> take(const Host& host, Ctid id, const std::string& status);
  CtLock(CtLock&&) noexcept;
  CtLock& operator=(CtLock&&) noexcept;
  ~CtLock();

 private:
  CtLock() = default;
  int fd_ = -1;
  std::string path_;
};

// Ends the holder of a lock if it is `vzctl COMMAND`; Code::locked if it is something else, or does not end.
Result<> end_lock_holder(const Host& host, Ctid id, const std::string& command);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// A descriptor that becomes readable when one of many files was written, and now and then: for those who compare
// numbers of the kernel and do not want to miss the moment where it tells them one.
#pragma once

#include <chrono>
#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

class FileWatch {
 public:
  static Result<FileWatch> create(std::chrono::milliseconds interval);
  int fd() const { return poll_.get(); }
  // From now on. The number takes it out again; false from remove() is fine: the file went away.
  Result<int> add(const std::string& path);
  void remove(int watch);
  // Wakes as well; whoever owns it reads it.
  Result<> also(int fd);
  // Readable until this; true if there was something.
  bool drain();

 private:
  FileWatch(UniqueFd poll, UniqueFd notify, UniqueFd timer)
      : poll_(std::move(poll)), notify_(std::move(notify)), timer_(std::move(timer)) {}
  UniqueFd poll_, notify_, timer_;
};

}  // namespace vz

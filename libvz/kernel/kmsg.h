// SPDX-License-Identifier: LGPL-2.1-or-later
// The kernel's log, /dev/kmsg, from now on.
#pragma once

#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

class KernelLog {
 public:
  static Result<KernelLog> open();
  int fd() const { return fd_.get(); }  // readable: there is something new
  void close() { fd_.reset(); }
  // The records that have arrived, "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT"; never blocks. Old ones may have been lost.
  std::vector<std::string> read();

 private:
  explicit KernelLog(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Whom the kernel killed for want of memory, as vz.ko tells: counters say only how many.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "libvz/container/oom.h"
#include "libvz/kernel/poller.h"

namespace vz {

class OomVictims {
 public:
  // Code::unsupported where the module is not loaded.
  static Result<OomVictims> open();
  // Readable when there is something to gather().
  int fd() const { return events_.fd(); }
  void gather();
  // Of `count` that a counter told of, those that are known: the oldest. Waits a moment for what is still on its way.
  std::vector<OomReport> take(Ctid id, std::uint64_t count);

 private:
  OomVictims(VzEvents events, Poller poller) : events_(std::move(events)), poller_(std::move(poller)) {}
  void take_known(Ctid id, std::uint64_t count, std::vector<OomReport>& out);

  VzEvents events_;
  Poller poller_;
  std::deque<OomReport> known_;  // of all containers of the host, also those of another vz
};

}  // namespace vz

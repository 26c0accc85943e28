// SPDX-License-Identifier: LGPL-2.1-or-later
// Disk limits that were met: how vzd counts and says them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <vz/host.h>
#include <vz/quota.h>
#include "libvz/container/state.h"
#include "libvz/kernel/quota_netlink.h"

namespace vz {

// How much vzd says about one container: its users decide how often they meet a limit.
class QuotaVoice {
 public:
  using Clock = std::chrono::steady_clock;
  // May one more line be written? `unsaid`: how many were not since the last one that was.
  bool may_say(Clock::time_point now, std::uint64_t* unsaid);

 private:
  Clock::time_point window_;
  unsigned said_ = 0;
  std::uint64_t unsaid_ = 0;
};

// Whether the event is about this running container, and the id as it counts; 0 for the container's whole disk. Found
// by the file system, and where that is shared by the ids: a directory's project has one of the container's own.
std::optional<std::uint64_t> quota_event_id(const Host& host, const State& state, const QuotaEvent& event);

// "user 1000: soft limit of disk space exceeded"; `id` as the container counts.
std::string quota_event_text(const QuotaEvent& event, std::uint64_t id);
// RUN/ID/quota_events: since the container's start.
Result<> count_quota_event(const Host& host, Ctid id, const QuotaEvent& event);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// What happens to the containers of this host, as it happens.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

struct MonitorEvent {
  std::string what;  // "started", "stopped", "refused", "oom_kill", "soft_limit", "hard_limit", "grace_over", "below"
  Ctid id{0};
  std::string resource;     // refused: the beancounter; limits: "disk", "user 1000", "group 0"
  std::uint64_t count = 0;  // refused, oom_kill: how often since the last time
  std::string text;         // for people
};

struct MonitorOptions {
  std::vector<Ctid> only;  // empty: all
  std::chrono::milliseconds interval{1000};
};

// Starts, stops and refusals are found by comparing at the interval; kills for want of memory (cgroup v2) and disk
// limits are told by the kernel at once. Disk limits are heard in the host's own network namespace only.
class VZ_API Monitor {
 public:
  static Result<Monitor> open(const Host& host, const MonitorOptions& options);
  Monitor(Monitor&&) noexcept;
  Monitor& operator=(Monitor&&) noexcept;
  ~Monitor();
  // Until something may have happened; often there is nothing.
  Result<std::vector<MonitorEvent>> wait();
  // What it cannot tell on this host, one line each.
  const std::vector<std::string>& missing() const;

 private:
  struct Impl;
  explicit Monitor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vz

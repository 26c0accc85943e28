// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/clock.h"

#include <ctime>

#include <unistd.h>

namespace vz {

namespace {

std::uint64_t read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000ull + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::uint64_t monotonic_ns() { return read_clock(CLOCK_MONOTONIC); }

std::uint64_t boottime_ns() { return read_clock(CLOCK_BOOTTIME); }

std::uint64_t age_ns(const ProcessId& id) {
  const auto now_ns = boottime_ns();
  static const auto hertz = static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
  auto start_ns = id.start_time / hertz * 1000000000ull + id.start_time % hertz * 1000000000ull / hertz;
  return now_ns > start_ns ? now_ns - start_ns : 0;
}

}  // namespace vz

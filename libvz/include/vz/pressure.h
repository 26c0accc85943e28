// SPDX-License-Identifier: LGPL-2.1-or-later
// Pressure stall information: how much time was lost to waiting for CPU, memory and I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>

namespace vz {

struct Stall {
  double avg10 = 0, avg60 = 0, avg300 = 0;  // percent of the last 10, 60, 300 seconds
  std::uint64_t total_us = 0;
};
struct Stalls {
  std::optional<Stall> some, full;  // some task waited; all of them did
};
// Empty where the kernel was built or booted without it.
struct Pressure {
  Stalls cpu, memory, io;
};

VZ_API Pressure read_host_pressure();
// One for each id, in their order; empty for what does not run, and without cgroup2.
VZ_API std::vector<Pressure> read_pressure(std::span<const Ctid> ids);
// A file as /proc/pressure/memory. Pure.
VZ_API Stalls parse_pressure(std::string_view text);

}  // namespace vz

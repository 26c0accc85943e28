// SPDX-License-Identifier: LGPL-2.1-or-later
// The host's active swap devices, and what zram makes of what is in it.
#pragma once

#include <string>
#include <vector>

#include <vz/error.h>
#include <vz/memory_report.h>

namespace vz {

// From /proc/swaps and /sys/block/zramN. `root` is prefixed to both for tests.
Result<std::vector<SwapDevice>> swap_devices(const std::string& root = "");

// Most processes and threads of the host at the same time; 0: unknown.
std::uint64_t host_pid_limit(const std::string& root = "");

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

#include "libvz/kernel/process.h"

namespace vz {

// Nanoseconds since this process started (CLOCK_BOOTTIME minus field 22 of /proc/PID/stat).
std::uint64_t age_ns(const ProcessId& id);

// CLOCK_MONOTONIC in nanoseconds, which is what BPF programs call the time.
std::uint64_t monotonic_ns();

// CLOCK_BOOTTIME in nanoseconds: goes on while the machine sleeps.
std::uint64_t boottime_ns();

}  // namespace vz

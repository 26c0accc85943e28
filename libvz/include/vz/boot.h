// SPDX-License-Identifier: LGPL-2.1-or-later
// What vz.service does when the host boots and shuts down.
#pragma once

#include <cstdint>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

// One container of a boot or shutdown: the exit code of its start or stop, 0 when it worked or had nothing to do.
struct BootStatus {
  Ctid id{0};
  int status = 0;
  bool operator==(const BootStatus&) const = default;
};

// Starts what has ONBOOT=yes and what ran at the last shutdown (LIB/vzreboot/ID, unless ONBOOT=no); DISABLED=yes never.
// A higher BOOTORDER goes first, none goes last; VE_PARALLEL at a time, else one per CPU. Each container starts in a
// child process, whose messages carry its number. Fails only when the list of containers cannot be read.
VZ_API Result<std::vector<BootStatus>> start_all(const Host& host, Reporter& reporter);

// Records what runs in LIB/vzreboot and stops it, a lower BOOTORDER first. CPU and I/O limits are lifted before, so
// that a throttled container stops in time; one that fails is tried three times.
VZ_API Result<std::vector<BootStatus>> stop_all(const Host& host, Reporter& reporter);

// The order of start, for everything that has the choice; stop_all() goes through it backwards.
struct BootEntry {
  Ctid id{0};
  std::uint64_t order = 0;  // BOOTORDER, 0 when unset
};
VZ_API std::vector<Ctid> boot_order(std::vector<BootEntry> entries);

}  // namespace vz

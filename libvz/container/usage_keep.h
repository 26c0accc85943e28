// SPDX-License-Identifier: LGPL-2.1-or-later
// When the usage of a container is written down. Its own lock, held for one record at a time: the container's lock is
// not needed, so that a long start or stop keeps nobody from counting.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include "libvz/container/usage_record.h"

namespace vz {

// What was read of a run while it was there; without traffic, whose counts do not go away.
struct RunSample {
  std::string boot_id;
  std::uint64_t group = 0, now_s = 0, started_s = 0;
  std::optional<CpuTime> cpu;
  IoByDevice io;
  HeldMemory memory;
};
RunSample sample_run(const Host& host, const UsageSources& sources, Ctid id);

// Adds the present readings to the record, durably. nullopt: it never ran. `last`: of a run whose groups may be gone;
// then this is what counts of it.
Result<std::optional<UsageRecord>> keep_usage(const Host& host, const UsageSources& sources, Ctid id,
                                              Reporter& reporter, const RunSample* last = nullptr);
// The same before its groups are removed; failing is a warning. Called twice it adds nothing the second time.
void keep_last_usage(const Host& host, Ctid id, Reporter& reporter, const RunSample* last = nullptr);
// destroy: the last entry of the series in the journal, then the record and the traffic counts go.
void end_usage(const Host& host, Ctid id, const std::string& name, Reporter& reporter);

}  // namespace vz

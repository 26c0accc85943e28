// SPDX-License-Identifier: LGPL-2.1-or-later
// LIB/usage/ID/record.json: the sum over all runs, and the readings that are in it already. Both change in one rename,
// so that whoever is killed at whatever moment leaves a sum in which everything is counted once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/usage.h>
#include "libvz/container/usage_live.h"

namespace vz {

// The readings that a sum contains. Those of another run or of another map are contained not at all.
struct SeenUsage {
  std::string boot_id;
  std::uint64_t group = 0;
  std::uint32_t traffic_map = 0;
  std::uint64_t at_s = 0;  // CLOCK_BOOTTIME
  bool ended = false;      // the run had no process any more
  CpuTime cpu;
  IoByDevice io;
  HeldMemory memory;
  Traffic traffic;
};

struct UsageRecord {
  static constexpr int kVersion = 1;
  Ctid id{0};
  std::string series;
  std::int64_t created = 0, updated = 0;  // seconds since the epoch
  Usage total;
  SeenUsage seen;
};

// Adds what `live` has more than was seen. Numbers that fell (a device that was removed, a group inside that went away
// on cgroup v1) add nothing.
void advance(UsageRecord& record, const LiveUsage& live);

std::string usage_dir(const Host& host, Ctid id);
UsageRecord new_usage_record(Ctid id, std::int64_t now);
// nullopt: none yet. Code::bad_config for one that is damaged, or of a version that is not known.
Result<std::optional<UsageRecord>> load_usage_record(const Host& host, Ctid id);
Result<> save_usage_record(const Host& host, const UsageRecord& record);

// The record as migration carries it, and back.
std::string usage_record_text(const UsageRecord& record);
Result<UsageRecord> parse_usage_record(const std::string& text, const std::string& path);

}  // namespace vz

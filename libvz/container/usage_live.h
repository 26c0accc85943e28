// SPDX-License-Identifier: LGPL-2.1-or-later
// What the kernel has counted for a container in its present run, and which run that is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <vz/ctid.h>
#include <vz/host.h>
#include <vz/usage.h>
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/traffic.h"

namespace vz {

struct CpuTime {
  std::uint64_t total = 0, user = 0, system = 0;  // nanoseconds
};
struct IoCounts {
  std::uint64_t read_bytes = 0, written_bytes = 0, reads = 0, writes = 0;
};
using IoByDevice = std::map<std::string, IoCounts>;  // by "MAJOR:MINOR"

struct HeldMemory {
  std::uint64_t ram_kib = 0, swap_kib = 0;
};

struct LiveUsage {
  std::string boot_id;
  std::uint64_t group = 0;        // id of the run's control group; 0: there is none
  std::uint32_t traffic_map = 0;  // 0: there is none
  std::uint64_t now_s = 0;        // CLOCK_BOOTTIME
  std::uint64_t started_s = 0;    // the same clock; now_s when unknown
  bool ended = false;             // no process is left: what is held now says nothing about the run
  std::optional<CpuTime> cpu;
  IoByDevice io;
  HeldMemory memory, peak;
  Traffic traffic;
};

// What many containers need once.
struct UsageSources {
  CgroupHost cgroups;
  std::optional<TrafficMaps> traffic;
  std::string boot_id;
  // Counts of all containers, read at once: for showing them. Whoever writes a sum down reads anew.
  std::map<std::uint32_t, Traffic> counts;

  static Result<UsageSources> open();
  static Result<UsageSources> open_for_all();
};

LiveUsage read_live_usage(const Host& host, const UsageSources& sources, Ctid id);

// Text of cpu.stat, io.stat and the v1 files. Pure.
std::optional<CpuTime> parse_cpu_stat(std::string_view text);
IoByDevice parse_io_stat(std::string_view text);
IoByDevice parse_blkio(std::string_view bytes, std::string_view operations);

}  // namespace vz

// SPDX-License-Identifier: GPL-2.0-or-later
// What vztop shows: two readings of all running containers and what changed between them. No terminal here.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/beancounters.h>
#include <vz/container.h>
#include <vz/host.h>
#include <vz/memory_report.h>
#include <vz/pressure.h>
#include <vz/usage.h>
#include "vzctl/format.h"

namespace vzctl {

// One container at one moment.
struct TopContainer {
  vz::Ctid id{0};
  std::string name;
  vz::Sample sample;
  vz::Usage usage;
  vz::Pressure pressure;
  std::optional<vz::UbSnapshot> beancounters;
};

struct TopReading {
  std::chrono::steady_clock::time_point time;
  vz::HostMemoryState host;
  vz::Pressure pressure;  // of the host
  std::vector<TopContainer> containers;
};
vz::Result<TopReading> read_top(const vz::Host& host);

// One line: rates are per second since the reading before; nullopt: this host cannot tell, or it was not there yet.
struct TopRow {
  vz::Ctid id{0};
  std::string name;
  std::optional<double> cpu;  // percent of one CPU
  std::optional<std::uint64_t> ram, ram_limit, swap, processes;
  std::optional<double> cpu_some, memory_some, memory_full, io_some, io_full;  // percent of the last 10 seconds
  std::optional<double> read, written, in, out;                                // bytes per second
  std::optional<std::uint64_t> failures, oom_kills;                            // since the reading before
};
std::vector<TopRow> top_rows(const TopReading& now, const TopReading* before);

enum class TopSort { ctid, name, cpu, ram, swap, processes, pressure, io, network, failures };
vz::Result<TopSort> parse_top_sort(std::string_view word);
const char* top_sort_name(TopSort sort);
// Numbers from the greatest down, ctid and name up; `reverse` turns both round.
void sort_top(std::vector<TopRow>& rows, TopSort sort, bool reverse);

Table top_table(const std::vector<TopRow>& rows);
std::vector<std::string> top_summary(const TopReading& now);
// One container: memory, pressure, disks, classes of traffic, and every beancounter with what it was refused.
std::vector<std::string> top_details(const TopContainer& now, const TopContainer* before, double seconds);

const TopContainer* find_container(const TopReading& reading, vz::Ctid id);
std::string short_bytes(double bytes);  // five columns: "512K", "1.5G"

}  // namespace vzctl

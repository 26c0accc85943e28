// SPDX-License-Identifier: LGPL-2.1-or-later
// What a container has used since it was created: counters that only ever grow, over stop and start, a reboot inside,
// a restart of the host and of vz itself. For billing and monitoring.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

inline constexpr unsigned kTrafficClasses = 16;

struct TrafficCount {
  std::uint64_t bytes = 0;  // from the IP header on, as on the wire: whatever offloads do
  std::uint64_t packets = 0;
  TrafficCount& operator+=(const TrafficCount& o) {
    bytes += o.bytes;
    packets += o.packets;
    return *this;
  }
  bool operator==(const TrafficCount&) const = default;
};

// What crossed between the container and the outside, by class of the peer's network; nothing that stayed inside.
struct Traffic {
  TrafficCount ip4_in[kTrafficClasses], ip4_out[kTrafficClasses];
  TrafficCount ip6_in[kTrafficClasses], ip6_out[kTrafficClasses];
  TrafficCount other_in, other_out;  // ARP and what else is not IP

  // IPv4 and IPv6 together.
  TrafficCount in(unsigned c) const { return TrafficCount(ip4_in[c]) += ip6_in[c]; }
  TrafficCount out(unsigned c) const { return TrafficCount(ip4_out[c]) += ip6_out[c]; }
  bool operator==(const Traffic&) const = default;
};

struct Usage {
  std::uint64_t run_s = 0;  // seconds that it ran
  std::uint64_t cpu_ns = 0, cpu_user_ns = 0, cpu_system_ns = 0;
  std::uint64_t read_bytes = 0, written_bytes = 0, reads = 0, writes = 0;  // summed over block devices
  std::uint64_t ram_kib_s = 0, swap_kib_s = 0;  // KiB held x seconds; sampled, see record_usage()
  Traffic traffic;
  bool operator==(const Usage&) const = default;
};
// What was used between two readings of one series; never negative.
VZ_API Usage operator-(const Usage& later, const Usage& earlier);

struct UsageReport {
  Ctid id{0};
  std::string name;        // NAME, may be empty
  std::string series;      // another text after destroy and create: its counters begin at zero
  std::int64_t since = 0;  // when the series began, seconds since the epoch
  bool running = false;
  Usage usage;
};

// As of now. With `all` also of containers that do not run; those that were destroyed are not here.
VZ_API Result<std::vector<UsageReport>> read_usage(const Host& host, bool all);
VZ_API Result<UsageReport> read_usage(const Host& host, Ctid id);

// What vz-usage.timer runs: makes the present readings durable, takes one sample of the memory that is held, and adds
// to the journal that usage_between() reads. Of what happens later, a crash of the host loses CPU time, I/O, traffic
// and memory until the next call; an orderly stop of a container or of the host loses nothing.
VZ_API Result<> record_usage(const Host& host, Reporter& reporter);

// Used between two moments (seconds since the epoch), by the journal: exact to the hour, later than a month ago to the
// day. `until` empty: now. Containers that used nothing then, and did not run, are left out.
struct UsagePeriod {
  Ctid id{0};
  std::string name;
  std::string series;
  std::int64_t from = 0, to = 0;  // the readings that were compared
  bool destroyed = false;         // within the period
  Usage usage;
};
VZ_API Result<std::vector<UsagePeriod>> usage_between(const Host& host, std::int64_t since,
                                                      std::optional<std::int64_t> until);

// ETC/conf/networks_classes, lines of `CLASS ADDRESS/PREFIX`, for all running and future containers from now on. What
// no line matches is class 1. A file with a wrong line changes nothing. Returns the number of networks.
VZ_API Result<std::size_t> load_network_classes(const Host& host);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Who was promised how much memory, what of it is used, and what the host has to keep the promises: for vzmemcheck,
// vzcalc and vzsplit, and for everybody who decides whether one more container fits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/config.h>
#include <vz/container.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

// Barrier and limit that count for a beancounter's key: the configured ones, else in a VSwap configuration what
// follows from RAM and swap (vzctl(8), Memory). nullopt: neither.
VZ_API std::optional<Limit> effective_limit(const Config& config, std::string_view key);
// PHYSPAGES has a limit: the container's memory is described by RAM and swap.
VZ_API bool is_vswap(const Config& config);

// One swap device of the host. Sizes in bytes.
struct SwapDevice {
  std::string name;  // "/dev/zram0", "/swapfile"
  std::uint64_t size = 0, used = 0;
  std::int64_t priority = 0;  // the kernel fills a higher one first
  bool zram = false;
  std::uint64_t stored = 0;      // zram: pages in it before compression (mm_stat)
  std::uint64_t compressed = 0;  // zram: their data after it
  std::uint64_t ram = 0;         // zram: RAM taken, with its own bookkeeping
  std::uint64_t written = 0;     // zram: moved on to its backing device on disk (bd_stat)
};

// The host itself. Sizes in bytes.
struct HostMemoryState {
  std::uint64_t ram = 0, ram_available = 0;
  std::uint64_t swap = 0, swap_free = 0;
  std::vector<SwapDevice> swaps;
  std::uint64_t pids = 0;  // most processes at the same time; 0: unknown
};
VZ_API Result<HostMemoryState> read_host_memory();

// One container. What is promised is its configuration; nullopt: no limit. Uses are zero when it does not run.
struct ContainerMemory {
  Ctid id{0};
  std::string name;  // NAME, may be empty
  bool running = false;
  std::optional<std::uint64_t> ram_used, swap_used;             // nullopt: this host cannot tell
  std::optional<std::uint64_t> ram_promised, swap_promised;     // bytes; nullopt: no limit
  std::optional<std::uint64_t> private_used, private_promised;  // bytes of private mappings
  std::optional<std::uint64_t> processes, processes_promised;
};
// The promises of a configuration alone.
VZ_API ContainerMemory promised_memory(Ctid id, const Config& config);

// Sums over containers, and what they mean for the host.
struct MemoryTotals {
  std::uint64_t ram_used = 0, swap_used = 0;
  std::uint64_t ram_promised = 0, swap_promised = 0;  // of those with a limit
  unsigned containers = 0;
  unsigned unlimited = 0;  // without a RAM or swap limit: nothing bounds what these take
};

// If every container took all that it was promised. Bytes; they add up to ram_promised + swap_promised.
struct WorstCase {
  std::uint64_t in_ram = 0;    // fits into the host's RAM, next to what zram needs for `in_zram`
  std::uint64_t in_zram = 0;   // goes to zram, before compression
  std::uint64_t on_disk = 0;   // goes to swap on disks
  std::uint64_t unbacked = 0;  // has no place: the host itself runs out of memory
  double ratio = 1;            // compression assumed: that of what is in zram now, else kAssumedRatio
  bool ratio_measured = false;
};
inline constexpr double kAssumedRatio = 2.0;

struct MemoryReport {
  HostMemoryState host;
  std::vector<ContainerMemory> containers;  // by number
  MemoryTotals totals;
  WorstCase worst;
};

// Reads the host and all containers; with `all`, promises to those that do not run count, too.
VZ_API Result<MemoryReport> memory_report(const Host& host, bool all);
// The same of readings: pure.
VZ_API MemoryReport make_memory_report(HostMemoryState host, std::vector<ContainerMemory> containers);
VZ_API WorstCase worst_case(const HostMemoryState& host, std::uint64_t promised);

}  // namespace vz

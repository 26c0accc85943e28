// SPDX-License-Identifier: LGPL-2.1-or-later
// zram: block devices in compressed RAM (Documentation/admin-guide/blockdev/zram.rst of the kernel).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>

namespace vz {

struct Zram {
  unsigned id = 0;
  std::uint64_t sequence = 0;  // diskseq: no other disk of this boot has it, however often the number is reused
  std::uint64_t bytes = 0;     // 0: not set up yet, it holds nothing
  std::string device;          // "MAJ:MIN"
  std::string compressor;      // "lzo-rle"
  std::string backing;         // block device for write-back, "" without
  std::string path() const { return "/dev/zram" + std::to_string(id); }
};

// The kernel can make devices: the driver is there, loaded with no device of its own if need be. Code::unsupported.
Result<> need_zram();
bool zram_available();  // without loading anything

Result<unsigned> add_zram();
// Takes away a device that is not in use, and all that it holds.
Result<> remove_zram(unsigned id);
Result<std::optional<Zram>> find_zram(unsigned id);
std::vector<unsigned> zram_numbers();

// On a new device, in this order.
Result<> set_zram_compressor(unsigned id, const std::string& name);
Result<> set_zram_backing(unsigned id, const std::string& block_device);
Result<> set_zram_size(unsigned id, std::uint64_t bytes);

// mm_stat and bd_stat.
struct ZramUsage {
  std::uint64_t stored = 0;      // bytes of pages that it holds
  std::uint64_t compressed = 0;  // bytes they take compressed
  std::uint64_t ram = 0;         // bytes of host RAM that it takes in all
  std::uint64_t written_back = 0;
};
Result<ZramUsage> zram_usage(unsigned id);
ZramUsage parse_zram_usage(const std::string& mm_stat, const std::string& bd_stat, std::uint64_t page_size);

}  // namespace vz

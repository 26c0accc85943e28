// SPDX-License-Identifier: LGPL-2.1-or-later
// Swap areas of the host: /proc/swaps, the header that mkswap(8) writes, swapon(2) and swapoff(2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

struct SwapArea {
  std::string path;
  std::uint64_t bytes = 0, used = 0;
  int priority = 0;
  std::string device;  // "MAJ:MIN" of a block device, "" for a file
};
// What is on now. The text of /proc/swaps, and the same with `device` asked of the file system.
std::vector<SwapArea> parse_swaps(std::string_view text);
Result<std::vector<SwapArea>> swap_areas();

// The first page of a swap area names it.
struct SwapHeader {
  std::string label;  // at most 15 bytes
  std::string uuid;   // "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
};
// That page for an area of `bytes`; nullopt when a page is not a header (or `uuid` is none).
std::optional<std::string> make_swap_header(const SwapHeader& header, std::uint64_t bytes, std::size_t page_size);
std::optional<SwapHeader> parse_swap_header(std::string_view page);

// What is at the beginning of a device.
struct SwapContent {
  bool blank = false;  // nothing was ever written there
  std::optional<SwapHeader> header;
};
Result<SwapContent> read_swap_content(const std::string& path);
// Makes `path`, a blank device of `bytes`, a swap area.
Result<> write_swap_header(const std::string& path, const SwapHeader& header, std::uint64_t bytes);

Result<> swap_on(const std::string& path, int priority);
// Moves everything back into RAM first: may take long. A signal that kills us leaves the area on.
Result<> swap_off(const std::string& path);

// zswap keeps compressed pages in RAM in front of whatever swap there is.
bool zswap_enabled();

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// CRIU's table of contents of a process's pages, pagemap-PID.img: runs of pages, ascending. The contents of those that
// are `present` stand one after another in pages-ID.img.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>

namespace vz {

struct PageRun {
  static constexpr std::uint32_t kInParent = 1, kLazy = 2, kPresent = 4;  // PE_PARENT, PE_LAZY, PE_PRESENT
  std::uint64_t address = 0, pages = 0;
  std::uint32_t flags = 0;
  std::uint64_t end() const { return address + pages * 4096; }
  bool operator==(const PageRun&) const = default;
};

struct Pagemap {
  std::uint32_t pages_id = 0;
  std::vector<PageRun> runs;
};

// Code::restore: not one.
Result<Pagemap> parse_pagemap(std::string_view image);
std::string pagemap_image(const Pagemap& pagemap);

}  // namespace vz

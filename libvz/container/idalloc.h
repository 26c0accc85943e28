// SPDX-License-Identifier: LGPL-2.1-or-later
// Which ids belong to which container: the pure part of allocation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/kernel/idmap.h"

namespace vz {

constexpr std::uint64_t kFirstContainerId = 1879048192;  // 0x70000000
constexpr std::uint64_t kEndContainerId = 2147483648;    // systemd's UIDS-GIDS.md leaves 0x70000000..0x7fffffff free
constexpr std::uint32_t kIdsPerContainer = 65536;

struct IdRange {
  std::uint64_t base = 0;
  std::uint64_t count = 0;
  bool overlaps(const IdRange& o) const { return base < o.base + o.count && o.base < base + count; }
};

// "NAME:START:COUNT" lines of /etc/subuid; anything else is skipped.
std::vector<IdRange> parse_subid(const std::string& text);

// LIB/idmap: "CTID BASE COUNT" per line. A broken line is kept as it is, and whatever range can be read from it stays
// reserved: losing one would give its files to another container.
struct IdTable {
  struct Line {
    std::string text;
    std::optional<std::uint64_t> ctid;  // set in a valid line
    std::optional<IdRange> range;
  };
  std::vector<Line> lines;

  static IdTable parse(const std::string& text);
  std::string text() const;
  std::optional<IdMap> find(std::uint64_t ctid) const;
  void add(std::uint64_t ctid, IdMap map);
  bool remove(std::uint64_t ctid);
};

// `preferred` when nobody has any of it, else the lowest free range. Code::no_resources when there is none.
Result<IdMap> choose_idmap(const IdTable& table, const std::vector<IdRange>& foreign,
                           std::optional<IdMap> preferred = {});

}  // namespace vz

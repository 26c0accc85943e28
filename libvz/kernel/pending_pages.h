// SPDX-License-Identifier: LGPL-2.1-or-later
// Pages of one address space that are still to be put where they belong: which, and where their contents are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace vz {

// `pages` of them, one after another both in memory and in the file.
struct LateRun {
  std::uint64_t address = 0, pages = 0;
  std::size_t file = 0;      // which of the files
  std::uint64_t offset = 0;  // in it, bytes
  std::uint64_t end() const { return address + pages * 4096; }
  bool operator==(const LateRun&) const = default;
};

class PendingPages {
 public:
  void add(const LateRun& run);  // over nothing that is pending already
  bool empty() const { return runs_.empty(); }
  void clear() { runs_.clear(); }
  // At most `pages` from `address` on; nullopt: that page is not pending.
  std::optional<LateRun> at(std::uint64_t address, std::uint64_t pages) const;
  std::optional<LateRun> first(std::uint64_t pages) const;
  // They are there now, or nobody can ask for them any more.
  void drop(std::uint64_t begin, std::uint64_t end);
  // mremap(2): what is pending there goes along; what was pending at the new place is gone.
  void move(std::uint64_t from, std::uint64_t to, std::uint64_t bytes);

 private:
  std::map<std::uint64_t, LateRun> runs_;  // by address; none overlaps another
};

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/pending_pages.h"

#include <algorithm>
#include <vector>

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;

// What of it lies in [begin, end).
LateRun part_of(const LateRun& run, std::uint64_t begin, std::uint64_t end) {
  begin = std::max(begin, run.address);
  end = std::min(end, run.end());
  return {begin, (end - begin) / kPage, run.file, run.offset + (begin - run.address)};
}

}  // namespace

void PendingPages::add(const LateRun& run) {
  if (run.pages > 0) runs_[run.address] = run;
}

std::optional<LateRun> PendingPages::at(std::uint64_t address, std::uint64_t pages) const {
  auto after = runs_.upper_bound(address);
  if (after == runs_.begin()) return std::nullopt;
  const LateRun& run = std::prev(after)->second;
  if (address >= run.end()) return std::nullopt;
  return part_of(run, address, address + pages * kPage);
}

std::optional<LateRun> PendingPages::first(std::uint64_t pages) const {
  if (runs_.empty()) return std::nullopt;
  const LateRun& run = runs_.begin()->second;
  return part_of(run, run.address, run.address + pages * kPage);
}

void PendingPages::drop(std::uint64_t begin, std::uint64_t end) {
  auto at = runs_.upper_bound(begin);
  if (at != runs_.begin()) --at;
  while (at != runs_.end() && at->first < end) {
    const LateRun run = at->second;
    if (run.end() <= begin) {
      ++at;
      continue;
    }
    at = runs_.erase(at);
    if (run.address < begin) add(part_of(run, run.address, begin));
    if (run.end() > end) add(part_of(run, end, run.end()));
  }
}

void PendingPages::move(std::uint64_t from, std::uint64_t to, std::uint64_t bytes) {
  std::vector<LateRun> moved;
  for (auto at = runs_.begin(); at != runs_.end() && at->first < from + bytes; ++at)
    if (at->second.end() > from) moved.push_back(part_of(at->second, from, from + bytes));
  drop(from, from + bytes);
  drop(to, to + bytes);
  for (auto& run : moved) {
    run.address = run.address - from + to;
    add(run);
  }
}

}  // namespace vz

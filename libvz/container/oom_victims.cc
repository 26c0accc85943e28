// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/oom_victims.h"

#include <chrono>

namespace vz {

namespace {

constexpr std::size_t kMostKnown = 256;
// The counter changes before the module sends its message, which a busy host may take a while for.
constexpr std::chrono::milliseconds kPatience{1000};

}  // namespace

Result<OomVictims> OomVictims::open() {
  auto events = VZ_TRY(VzEvents::open());
  auto poller = VZ_TRY(Poller::create());
  VZ_TRY(poller.add(events.fd(), EPOLLIN, 0));
  return OomVictims(std::move(events), std::move(poller));
}

void OomVictims::gather() {
  bool lost = false;  // the counters have them all
  for (const auto& kill : events_.read(&lost)) known_.push_back(oom_report(kill));
  while (known_.size() > kMostKnown) known_.pop_front();
}

void OomVictims::take_known(Ctid id, std::uint64_t count, std::vector<OomReport>& out) {
  for (auto it = known_.begin(); it != known_.end() && out.size() < count;) {
    if (it->id != id) {
      ++it;
      continue;
    }
    out.push_back(std::move(*it));
    it = known_.erase(it);
  }
}

std::vector<OomReport> OomVictims::take(Ctid id, std::uint64_t count) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + kPatience;
  std::vector<OomReport> out;
  gather();
  take_known(id, count, out);
  for (auto now = Clock::now(); out.size() < count && now < end; now = Clock::now()) {
    if (!poller_.wait(std::chrono::duration_cast<std::chrono::milliseconds>(end - now) + std::chrono::milliseconds(1)))
      break;
    gather();
    take_known(id, count, out);
  }
  return out;
}

}  // namespace vz

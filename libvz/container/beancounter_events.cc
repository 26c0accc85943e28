// SPDX-License-Identifier: LGPL-2.1-or-later
// Events of beancounters: found by comparing counters at an interval, and whenever the kernel says that there is
// something: BPF programs by a ring buffer, control groups by changing memory.events and pids.events (cgroup v2).
#include "libvz/container/beancounter_events.h"

#include <algorithm>
#include <deque>

#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/cgroup_file.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file_watch.h"
#include "libvz/kernel/ub_ring.h"

namespace vz {

namespace {

// Of a container, not of one of its rows.
UbEvent plain_event(UbEvent::Kind kind, Ctid id) {
  UbEvent event;
  event.kind = kind;
  event.id = id;
  return event;
}

}  // namespace

const char* ub_event_name(UbEvent::Kind kind) {
  switch (kind) {
    case UbEvent::Kind::refused:
      return "refused";
    case UbEvent::Kind::threshold:
      return "threshold";
    case UbEvent::Kind::oom_kill:
      return "oom_kill";
    case UbEvent::Kind::started:
      return "started";
    case UbEvent::Kind::stopped:
      break;
  }
  return "stopped";
}

bool reaches(const UbCounter& c, unsigned percent) {
  const bool has_barrier = c.barrier != 0 && c.barrier < Limit::kUnlimited;  // physpages has 0:LIMIT
  const std::uint64_t bound = has_barrier ? c.barrier : c.limit;
  if (!c.held || bound >= Limit::kUnlimited) return false;
  return static_cast<double>(*c.held) * 100 >= static_cast<double>(bound) * percent;
}

void UbComparison::compare(const UbSnapshot& before, const UbSnapshot& now, std::vector<UbEvent>& out) {
  for (const auto& r : ub_resources()) {
    const auto &old_count = before[r.id].failcnt, &count = now[r.id].failcnt;
    if (!old_count || !count || *count <= *old_count) continue;
    auto kind = r.id == Ub::oomguarpages ? UbEvent::Kind::oom_kill : UbEvent::Kind::refused;
    out.push_back({kind, now.id, r.id, *count - *old_count, now[r.id]});
  }
}

void UbComparison::cross(const UbSnapshot& now, bool tell, std::vector<UbEvent>& out) {
  for (const auto& [row, percent] : thresholds_) {
    if (!reaches(now[row], percent)) {
      above_.erase({now.id, row});
      continue;
    }
    if (above_.insert({now.id, row}).second && tell)
      out.push_back({UbEvent::Kind::threshold, now.id, row, percent, now[row]});
  }
}

std::vector<UbEvent> UbComparison::next(const std::vector<UbSnapshot>& now) {
  std::vector<UbEvent> out;
  std::map<Ctid, UbSnapshot> seen;
  for (const auto& s : now) {
    auto before = last_.find(s.id);
    if (before == last_.end() && !first_) out.push_back(plain_event(UbEvent::Kind::started, s.id));
    if (before != last_.end()) compare(before->second, s, out);
    cross(s, !first_, out);
    seen.emplace(s.id, s);
  }
  for (const auto& old : last_) {
    const Ctid id = old.first;
    if (seen.contains(id)) continue;
    out.push_back(plain_event(UbEvent::Kind::stopped, id));
    std::erase_if(above_, [&](const auto& entry) { return entry.first == id; });
  }
  last_ = std::move(seen);
  first_ = false;
  return out;
}

std::vector<UbEvent> UbComparison::some(const std::vector<UbSnapshot>& now) {
  std::vector<UbEvent> out;
  for (const auto& s : now) {
    auto before = last_.find(s.id);
    if (before == last_.end()) continue;
    compare(before->second, s, out);
    cross(s, true, out);
    before->second = s;
  }
  return out;
}

struct UbEvents::Impl {
  UbEventOptions options;
  CgroupHost cgroups;
  Beancounters counters;
  UbComparison comparison;
  FileWatch watch;
  std::string groups;          // of cgroup v2 memory; "": nobody notifies
  std::optional<UbRing> ring;  // nullopt: the programs are not loaded, or too many subscribe
  std::map<Ctid, std::vector<int>> watches;
  std::map<std::uint64_t, Ctid> containers;  // by cgroup id, as far as they were needed
  std::deque<UbEvent> pending;

  Result<> look();
  Result<> look_at(const std::vector<vz_ub_event>& told);
  std::optional<Ctid> container_of(std::uint64_t group);
  void watch_containers(const std::vector<UbSnapshot>& now);
  UbParts wanted() const;
};

// failcnt of all rows, and what thresholds compare.
UbParts UbEvents::Impl::wanted() const {
  UbParts out;
  for (const auto& r : ub_resources()) out.add(r.id, UbPart::failcnt);
  for (const auto& [row, percent] : options.thresholds)
    out.add(row, UbPart::held).add(row, UbPart::barrier).add(row, UbPart::limit);
  return out;
}

void UbEvents::Impl::watch_containers(const std::vector<UbSnapshot>& now) {
  if (groups.empty()) return;
  std::map<Ctid, std::vector<int>> still;
  for (const auto& s : now) {
    auto known = watches.find(s.id);
    if (known != watches.end()) {
      still.insert(*known);
      continue;
    }
    for (const char* file : {"memory.events", "pids.events"})
      if (auto added = watch.add(groups + "/" + scope_path(s.id) + "/ct/" + file)) still[s.id].push_back(*added);
  }
  for (const auto& [id, numbers] : watches) {
    if (still.contains(id)) continue;
    for (int number : numbers) watch.remove(number);
  }
  watches = std::move(still);
}

Result<> UbEvents::Impl::look() {
  auto now = VZ_TRY(counters.read(wanted()));
  if (!options.only.empty())
    std::erase_if(now, [&](const UbSnapshot& s) {
      return std::find(options.only.begin(), options.only.end(), s.id) == options.only.end();
    });
  watch_containers(now);
  for (auto& event : comparison.next(now)) pending.push_back(std::move(event));
  return {};
}

std::optional<Ctid> UbEvents::Impl::container_of(std::uint64_t group) {
  if (auto known = containers.find(group); known != containers.end()) return known->second;
  containers.clear();
  for (const auto& [id, numbers] : watches)
    if (auto found = unified_group_id(cgroups, id)) containers.emplace(*found, id);
  auto known = containers.find(group);
  return known == containers.end() ? std::nullopt : std::optional(known->second);
}

// Those that something happened to; all, when one of them is new.
Result<> UbEvents::Impl::look_at(const std::vector<vz_ub_event>& told) {
  std::set<Ctid> ids;
  for (const auto& event : told) {
    auto id = container_of(event.container);
    if (!id) return look();
    ids.insert(*id);
  }
  const std::vector<Ctid> list(ids.begin(), ids.end());
  for (auto& event : comparison.some(VZ_TRY(counters.read(list, wanted())))) pending.push_back(std::move(event));
  return {};
}

UbEvents::UbEvents(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UbEvents::UbEvents(UbEvents&&) noexcept = default;
UbEvents& UbEvents::operator=(UbEvents&&) noexcept = default;
UbEvents::~UbEvents() = default;

Result<UbEvents> UbEvents::open(const Host& host, UbEventOptions options) {
  auto counters = VZ_TRY(Beancounters::open(host));
  auto watch = VZ_TRY(FileWatch::create(options.interval));
  auto groups = VZ_TRY(CgroupHost::probe());
  const auto* memory = groups.find(Controller::memory);
  const std::string v2 = memory && memory->v2 ? memory->path : "";
  UbComparison comparison(options.thresholds);
  std::optional<UbRing> ring;
  if (auto subscribed = UbRing::subscribe(host.paths().run + "/events")) {
    VZ_TRY(watch.also(subscribed->fd()));
    ring.emplace(std::move(*subscribed));
  }
  auto impl = std::unique_ptr<Impl>(new Impl{std::move(options),
                                             std::move(groups),
                                             std::move(counters),
                                             std::move(comparison),
                                             std::move(watch),
                                             v2,
                                             std::move(ring),
                                             {},
                                             {},
                                             {}});
  VZ_TRY(impl->look());
  return UbEvents(std::move(impl));
}

int UbEvents::fd() const { return impl_->watch.fd(); }

Result<std::optional<UbEvent>> UbEvents::next() {
  if (impl_->pending.empty()) {
    auto told = impl_->ring ? impl_->ring->drain() : std::vector<vz_ub_event>();
    if (impl_->watch.drain()) {
      VZ_TRY(impl_->look());
    } else if (!told.empty()) {
      VZ_TRY(impl_->look_at(told));
    }
  }
  if (impl_->pending.empty()) return std::optional<UbEvent>();
  UbEvent event = std::move(impl_->pending.front());
  impl_->pending.pop_front();
  return std::optional(std::move(event));
}

}  // namespace vz

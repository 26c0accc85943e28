// SPDX-License-Identifier: LGPL-2.1-or-later
// Reading beancounters: one pass over the maps for all containers, then the few files of each.
#include <vz/beancounters.h>

#include <algorithm>

#include <vz/container.h>
#include "libvz/base/text.h"
#include "libvz/container/beancounter_limits.h"
#include "libvz/container/beancounter_sources.h"
#include "libvz/container/oom.h"
#include "libvz/container/sample.h"
#include "libvz/container/state.h"
#include "libvz/kernel/boot_id.h"
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/cgroup_file.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr Ub kWalked[] = {Ub::tcpsndbuf, Ub::tcprcvbuf, Ub::othersockbuf, Ub::dgramrcvbuf, Ub::numsiginfo};
constexpr std::size_t kFewContainers = 4;  // below that, single look-ups are cheaper than the whole map

bool wants_limits(const UbParts& wanted, Ub row) {
  return wanted.has(row, UbPart::barrier) || wanted.has(row, UbPart::limit);
}

bool any_row(const auto& test) {
  return std::any_of(ub_resources().begin(), ub_resources().end(), [&](const UbResource& r) { return test(r.id); });
}

// What the programs counted of the containers that are asked for, by cgroup id.
class Counted {
 public:
  static Counted read(const UbMaps& maps, std::size_t containers) {
    Counted out(&maps);
    if (containers <= kFewContainers) return out;
    if (auto all = maps.read_all()) out.all_ = *std::move(all);
    return out;
  }
  std::optional<vz_ub> of(std::uint64_t group) const {
    auto found = std::lower_bound(all_.begin(), all_.end(), group,
                                  [](const UbMaps::Entry& e, std::uint64_t id) { return e.cgroup_id < id; });
    if (found != all_.end() && found->cgroup_id == group) return found->ub;
    auto one = all_.empty() ? maps_->read(group) : Result<std::optional<vz_ub>>(std::nullopt);
    return one ? *one : std::nullopt;
  }

 private:
  explicit Counted(const UbMaps* maps) : maps_(maps) {}
  const UbMaps* maps_;
  std::vector<UbMaps::Entry> all_;
};

}  // namespace

struct Beancounters::Impl {
  const Host* host;
  CgroupHost cgroups;
  std::optional<BpfMaps> state;
  std::optional<UbMaps> ub;
  UbAbilities abilities;
  std::string boot_id;

  struct Pass {
    const UbParts& wanted;
    Readings readings;
    bool limits, counted, kills;
    std::optional<Counted> map;
    ProcessFacts facts;
  };

  Pass begin(const UbParts& wanted, std::size_t containers) const;
  UbSnapshot read(Ctid id, Pass& pass) const;
  UbLimits limits(Ctid id, std::optional<std::uint64_t> group) const;
  void look_at_processes(Pass& pass, bool counted, UbSnapshot& out) const;
};

Beancounters::Impl::Pass Beancounters::Impl::begin(const UbParts& wanted, std::size_t containers) const {
  auto counts = [&](Ub row) { return abilities[static_cast<std::size_t>(row)].counted; };
  Pass pass{wanted, ub_readings(wanted), false, false, false, {}, {}};
  pass.limits = any_row([&](Ub row) { return wants_limits(wanted, row); });
  pass.counted = ub && any_row([&](Ub row) { return counts(row) && wanted.has(row); });
  pass.kills = wanted.has(Ub::oomguarpages, UbPart::failcnt);
  if (!pass.counted) return pass;
  // Rows that fail to be walked keep the numbers of the last walk.
  const bool walk = std::any_of(std::begin(kWalked), std::end(kWalked),
                                [&](Ub row) { return counts(row) && wanted.has(row, UbPart::held); });
  if (walk) (void)ub->refresh();
  pass.map = Counted::read(*ub, containers);
  return pass;
}

// As kernel code was told; else as was noted when the container started, or as its file says now.
UbLimits Beancounters::Impl::limits(Ctid id, std::optional<std::uint64_t> group) const {
  if (auto conf = ub && group ? ub->read_conf(*group) : Result<std::optional<vz_ub_conf>>(std::nullopt); conf && *conf)
    return limits_of(**conf);
  if (auto noted = noted_ub_limits(*host, id)) return *noted;
  auto config = host->load(id);
  return config ? ub_limits(*config) : UbLimits{};
}

// The pid stays this process's while it lives: what was read of it before it is found dead is no reading.
void Beancounters::Impl::look_at_processes(Pass& pass, bool counted, UbSnapshot& out) const {
  const UbAbilities none;
  const auto& here = counted ? abilities : none;
  if (!needs_processes(pass.wanted, here)) return;

  auto init = running_init(*host, out.id, boot_id);
  if (!init || !*init) return;
  UbSnapshot seen = out;
  fill_from_processes(cgroups, **init, pass.wanted, here, pass.facts, seen);
  if (is_alive(**init)) out = seen;
}

UbSnapshot Beancounters::Impl::read(Ctid id, Pass& pass) const {
  UbSnapshot out;
  out.id = id;
  auto found = unified_group_id(cgroups, id);
  auto group = found ? std::optional(*found) : std::nullopt;
  SampleSources sources{cgroups, state ? &*state : nullptr};
  Sample sample = sample_cgroups(sources, id, pass.readings);
  if (pass.kills && sample.oom_kills) *sample.oom_kills += earlier_oom_kills(*host, id);
  fill_from_sample(sample, out);
  // One that runs since before the programs were loaded, and was not told of yet, is not counted.
  auto counted = pass.map && group ? pass.map->of(*group) : std::nullopt;
  if (counted) fill_from_map(*counted, abilities, out);
  look_at_processes(pass, counted || !pass.map, out);
  if (!pass.limits) return out;
  auto all = limits(id, group);
  for (std::size_t i = 0; i < kUbRows; ++i) {
    out.rows[i].barrier = all[i].barrier;
    out.rows[i].limit = all[i].limit;
  }
  return out;
}

Beancounters::Beancounters(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Beancounters::Beancounters(Beancounters&&) noexcept = default;
Beancounters& Beancounters::operator=(Beancounters&&) noexcept = default;
Beancounters::~Beancounters() = default;

Result<Beancounters> Beancounters::open(const Host& host) {
  auto impl = std::make_unique<Impl>();
  impl->host = &host;
  impl->cgroups = VZ_TRY(CgroupHost::probe());
  if (auto maps = BpfMaps::open()) impl->state = *std::move(maps);
  if (auto maps = UbMaps::open()) impl->ub = *std::move(maps);
  impl->abilities = ub_abilities();
  impl->boot_id = read_boot_id();
  return Beancounters(std::move(impl));
}

Result<std::vector<UbSnapshot>> Beancounters::read(const UbParts& wanted) const {
  std::vector<Ctid> ids;
  auto names = list_dir(impl_->host->paths().run);
  for (const auto& name : names ? *names : std::vector<std::string>())
    if (auto id = Ctid::parse(name); id && id->value() != 0) ids.push_back(*id);
  std::sort(ids.begin(), ids.end());
  UbParts more = wanted;
  more.add(Ub::numproc, UbPart::held);
  auto out = VZ_TRY(read(ids, more));
  // Groups that are gone, or that nobody is in any more: the container ended, and nobody has cleaned up yet.
  const bool counts = impl_->cgroups.find(Controller::pids);
  std::erase_if(out, [&](const UbSnapshot& s) {
    return counts ? s[Ub::numproc].held.value_or(0) == 0 : !Cgroups::present(impl_->cgroups, s.id);
  });
  return out;
}

Result<std::vector<UbSnapshot>> Beancounters::read(std::span<const Ctid> ids, const UbParts& wanted) const {
  auto pass = impl_->begin(wanted, ids.size());
  std::vector<UbSnapshot> out;
  out.reserve(ids.size());
  for (Ctid id : ids) out.push_back(impl_->read(id, pass));
  return out;
}

}  // namespace vz

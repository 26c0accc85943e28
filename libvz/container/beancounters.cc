// SPDX-License-Identifier: LGPL-2.1-or-later
// Reading beancounters: one pass over the maps for all containers, then the few files of each.
#include <vz/beancounters.h>

#include <algorithm>
#include <set>

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
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/packet_rules.h"

namespace vz {

namespace {

constexpr Ub kWalked[] = {Ub::tcpsndbuf,   Ub::tcprcvbuf,  Ub::othersockbuf,
                          Ub::dgramrcvbuf, Ub::numsiginfo, Ub::numiptent};
constexpr std::size_t kFewContainers = 4;  // below that, single look-ups are cheaper than the whole map

bool wants_limits(const UbParts& wanted, Ub row) {
  return wanted.has(row, UbPart::barrier) || wanted.has(row, UbPart::limit);
}

bool any_row(const auto& test) {
  return std::any_of(ub_resources().begin(), ub_resources().end(), [&](const UbResource& r) { return test(r.id); });
}

// What kernel code knows of the containers that are asked for, by cgroup id: of many read at once.
class KernelEntries {
 public:
  KernelEntries(const UbMaps& maps, const BpfMaps* state) : maps_(&maps), state_(state) {}

  void read_all(bool limits, bool states) {
    if (auto all = maps_->read_all()) counts_ = *std::move(all);
    if (auto all = limits ? maps_->read_confs() : fail(Code::unsupported, "")) limits_ = *std::move(all);
    if (auto all = states && state_ ? state_->read_states() : fail(Code::unsupported, "")) states_ = *std::move(all);
  }
  void read_groups() {
    if (auto all = maps_->read_groups()) groups_ = *std::move(all);
  }

  std::optional<vz_ub> counts(std::uint64_t group) const {
    return one(counts_, group, [&] { return maps_->read(group); });
  }
  std::optional<vz_ub_conf> limits(std::uint64_t group) const {
    return one(limits_, group, [&] { return maps_->read_conf(group); });
  }
  const vz_state* state(std::uint64_t group) const { return find_entry(states_, group); }
  const vz_ub_group* group(std::uint64_t group) const { return find_entry(groups_, group); }
  // How the program that walks knew packet filters: it sees modules that were there when it was loaded.
  bool has(vz_ub_group_has what) const { return !groups_.empty() && (groups_.front().value.has & what) != 0; }

 private:
  template <typename Value>
  static std::optional<Value> one(const BpfEntries<Value>& all, std::uint64_t group, const auto& look_up) {
    if (const auto* found = find_entry(all, group)) return *found;
    auto alone = all.empty() ? look_up() : Result<std::optional<Value>>(std::nullopt);
    return alone ? *alone : std::nullopt;
  }

  const UbMaps* maps_;
  const BpfMaps* state_;
  BpfEntries<vz_ub> counts_;
  BpfEntries<vz_ub_conf> limits_;
  BpfEntries<vz_ub_group> groups_;
  BpfEntries<vz_state> states_;
};

// One file of the group above all containers: the kernel brings the statistics of all of them up to date.
void flush_memory_statistics(const CgroupHost& cgroups, const Readings& readings) {
  const auto* memory = cgroups.find(Controller::memory);
  if (!memory || !readings.any({Reading::kmem, Reading::shmem, Reading::locked, Reading::dcache})) return;
  (void)read_file(memory->path + "/" + kSlice + "/memory.stat");
}

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
    UbAbilities abilities;
    bool limits, counted;
    std::set<Ctid> killed;  // in earlier runs
    std::optional<KernelEntries> kernel;
    ProcessFacts facts;
  };

  Pass begin(const UbParts& wanted, std::size_t containers) const;
  void read_groups(Pass& pass) const;
  void note_packet_filters(Pass& pass) const;
  UbSnapshot read(Ctid id, Pass& pass) const;
  Sample sample(Ctid id, const Pass& pass, std::optional<std::uint64_t> group) const;
  UbLimits limits(Ctid id, const Pass& pass, std::optional<std::uint64_t> group) const;
  void look_at_processes(Pass& pass, bool counted, UbSnapshot& out) const;
};

Beancounters::Impl::Pass Beancounters::Impl::begin(const UbParts& wanted, std::size_t containers) const {
  Pass pass{wanted, ub_readings(wanted), abilities, false, false, {}, {}, {}};
  pass.limits = any_row([&](Ub row) { return wants_limits(wanted, row); });
  if (wanted.has(Ub::oomguarpages, UbPart::failcnt)) pass.killed = with_earlier_oom_kills(*host);
  if (!ub) return pass;
  pass.kernel.emplace(*ub, state ? &*state : nullptr);
  const bool many = containers > kFewContainers;
  if (many) read_groups(pass);
  note_packet_filters(pass);
  pass.counted = any_row([&](Ub row) {
    const auto at = static_cast<std::size_t>(row);
    return wanted.has(row) && (abilities[at].counted || pass.abilities[at].counted);
  });
  // Rows that fail to be walked keep the numbers of the last walk.
  const bool walk = std::any_of(std::begin(kWalked), std::end(kWalked), [&](Ub row) {
    return pass.abilities[static_cast<std::size_t>(row)].counted && wanted.has(row, UbPart::held);
  });
  if (walk) (void)ub->refresh();
  if (many) pass.kernel->read_all(pass.limits, pass.readings.has(Reading::privvm));
  return pass;
}

void Beancounters::Impl::read_groups(Pass& pass) const {
  flush_memory_statistics(cgroups, pass.readings);
  pass.kernel->read_groups();
}

// Whether the program that walks sees the rules of all packet filters that are loaded.
void Beancounters::Impl::note_packet_filters(Pass& pass) const {
  const bool nftables = pass.kernel->has(VZ_UB_KNOWS_NFT) || !has_packet_filter(PacketFilter::nftables);
  const bool iptables = pass.kernel->has(VZ_UB_KNOWS_XT) || !has_packet_filter(PacketFilter::iptables);
  const bool walks = abilities[static_cast<std::size_t>(Ub::tcpsndbuf)].counted;
  bool& counted = pass.abilities[static_cast<std::size_t>(Ub::numiptent)].counted;
  counted = walks && iptables && (nftables || counted);
}

// As kernel code was told; else as was noted when the container started, or as its file says now.
UbLimits Beancounters::Impl::limits(Ctid id, const Pass& pass, std::optional<std::uint64_t> group) const {
  if (auto conf = pass.kernel && group ? pass.kernel->limits(*group) : std::nullopt) return limits_of(*conf);
  if (auto noted = noted_ub_limits(*host, id)) return *noted;
  auto config = host->load(id);
  return config ? ub_limits(*config) : UbLimits{};
}

// The pid stays this process's while it lives: what was read of it before it is found dead is no reading.
void Beancounters::Impl::look_at_processes(Pass& pass, bool counted, UbSnapshot& out) const {
  const UbAbilities none;
  const auto& here = counted ? pass.abilities : none;
  if (!needs_processes(pass.wanted, here)) return;

  auto init = running_init(*host, out.id, boot_id);
  if (!init || !*init) return;
  UbSnapshot seen = out;
  fill_from_processes(cgroups, **init, pass.wanted, here, pass.facts, seen);
  if (is_alive(**init)) out = seen;
}

// From the container's group: what kernel code read of all of them, or what its files say.
Sample Beancounters::Impl::sample(Ctid id, const Pass& pass, std::optional<std::uint64_t> group) const {
  const auto* known = pass.kernel && group ? pass.kernel->group(*group) : nullptr;
  if (!known || !has_all(*known)) return sample_cgroups({cgroups, state ? &*state : nullptr}, id, pass.readings);
  Sample out;
  fill_sample(*known, out);
  if (const auto* counted = pass.kernel->state(*group)) fill_sample(*counted, out);
  return out;
}

UbSnapshot Beancounters::Impl::read(Ctid id, Pass& pass) const {
  UbSnapshot out;
  out.id = id;
  auto found = unified_group_id(cgroups, id);
  auto group = found ? std::optional(*found) : std::nullopt;
  Sample sample = this->sample(id, pass, group);
  if (pass.killed.contains(id) && sample.oom_kills) *sample.oom_kills += earlier_oom_kills(*host, id);
  fill_from_sample(sample, out);
  // One that runs since before the programs were loaded, and was not told of yet, is not counted.
  auto counted = pass.counted && group ? pass.kernel->counts(*group) : std::nullopt;
  // Both: failcnt also of a row whose held is looked up otherwise.
  if (counted) fill_from_map(*counted, abilities, out);
  if (counted) fill_from_map(*counted, pass.abilities, out);
  look_at_processes(pass, counted || !pass.counted, out);
  if (!pass.limits) return out;
  auto all = limits(id, pass, group);
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

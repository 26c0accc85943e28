// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/vswap_policy.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "libvz/container/network.h"
#include "libvz/kernel/cgroup_file.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr const char* kDelayFile = "memory.swap.delay";
constexpr std::uint64_t kMostDelayUs = 10000;  // more is refused by the kernel
constexpr std::uint64_t kPage = 4096;

std::optional<std::uint64_t> pages_of(const Config& config, const char* key) {
  auto limit = config.limit(key);
  if (!limit || limit->limit >= Limit::kUnlimited / kPage) return std::nullopt;
  return limit->limit;
}

// CPUs that the container is shown: what it can keep busy, rounded up. 0: all that it may run on.
std::uint32_t shown_cpus(const Config& config) {
  std::uint64_t cpus = config.number("CPUS").value_or(0);
  std::uint64_t limit = config.number("CPULIMIT").value_or(0);
  std::uint64_t by_limit = (limit + 99) / 100;
  if (cpus == 0 || (by_limit != 0 && by_limit < cpus)) cpus = by_limit;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(cpus, 8192));
}

VzContainer registry_entry(const VswapSubject& s, std::uint64_t cgroup_id) {
  VzContainer out;
  out.cgroup_id = cgroup_id;
  out.ctid = s.id.value();
  out.name = s.config.get("NAME").value_or("");
  out.cpus = shown_cpus(s.config);
  out.boot_ns = s.boot_ns;
  if (auto addresses = parse_ip_list(s.config.get("IP_ADDRESS").value_or(""))) out.addresses = std::move(*addresses);
  return out;
}

bool delay_file_known(const CgroupHost& host, const Cgroups* cgroups) {
  const auto* memory = host.find(Controller::memory);
  if (!memory || !memory->v2) return false;
  if (cgroups) return has_entry(cgroups->ct_fd(Controller::memory), kDelayFile);
  auto names = list_dir(memory->path);  // not in the root group; any child will do
  for (const auto& name : names ? *names : std::vector<std::string>())
    if (exists(memory->path + "/" + name + "/" + kDelayFile)) return true;
  return false;
}

std::uint64_t per_second(std::uint64_t rate) { return std::min<std::uint64_t>(rate, UINT32_MAX); }

CgroupWrite io_write(const std::string& device, std::uint64_t rate) {
  return {Controller::io, "io.max", device + " riops=" + (rate ? std::to_string(per_second(rate)) : "max"), true};
}

// A container that ran before the module was loaded would pay twice.
void lift_io_limits(const VswapFacts& facts, VswapPlan& plan) {
  if (!facts.io_limits) return;
  for (const auto& device : facts.swap_devices) plan.lifts.push_back(io_write(device, 0));
}

void choose(const VswapFacts& facts, VswapPlan& plan) {
  if (facts.delay_file) {
    plan.mechanism = VswapMechanism::kernel;
    plan.why = "this kernel has memory.swap.delay";
    if (swap_delay_us(plan.rate) == kMostDelayUs) plan.why += ", at least 100 pages/s";
    plan.writes.push_back({Controller::memory, kDelayFile, std::to_string(swap_delay_us(plan.rate)), true});
    lift_io_limits(facts, plan);
  } else if (facts.programs) {
    plan.mechanism = VswapMechanism::module;
    plan.why = "vz.ko and its BPF programs are loaded";
    plan.conf.vswap_rate = plan.rate;
    lift_io_limits(facts, plan);
  } else if (facts.io_limits && !facts.swap_devices.empty()) {
    plan.mechanism = VswapMechanism::riops;
    plan.why = facts.programs_why + "; io.max limits the swap-in";
    for (const auto& device : facts.swap_devices) plan.writes.push_back(io_write(device, plan.rate));
  } else {
    plan.mechanism = VswapMechanism::limits;
    plan.why = facts.programs_why + (facts.io_limits ? "; no block device is swap" : "; no cgroup v2 I/O controller");
  }
}

// The next best one, when the plan's could not be had.
VswapFacts without(VswapFacts facts, VswapMechanism m, const std::string& why) {
  if (m == VswapMechanism::kernel) facts.delay_file = false;
  if (m == VswapMechanism::module) facts.programs = facts.privvm = false;
  if (m == VswapMechanism::riops) facts.io_limits = false;
  facts.programs_why = why;
  return facts;
}

Result<> write_all_of(const Cgroups& cgroups, std::vector<CgroupWrite> writes) {
  for (auto& w : writes) w.optional = false;
  return cgroups.apply(writes, nullptr);
}

// The maps exist whenever the programs are loaded: sysinfo(2) inside needs an entry whatever slows the container down.
Result<> write_conf(const VswapSubject& s, std::uint64_t cgroup_id, vz_conf conf) {
  if (!BpfMaps::present()) return {};
  auto maps = VZ_TRY(BpfMaps::open());
  auto old = VZ_TRY(maps.read_state(cgroup_id));
  // What its tasks hold already was never counted, and would be subtracted when they free it.
  if (!old && s.already_runs) conf.privvm_limit = VZ_UNLIMITED;
  VZ_TRY(maps.make_state(cgroup_id));
  auto now = VZ_TRY(maps.read_conf(cgroup_id));
  if (now) conf.flags = now->flags;
  conf.vswap_since_ns = now && now->vswap_rate == conf.vswap_rate ? now->vswap_since_ns : monotonic_ns();
  return maps.set_conf(cgroup_id, conf);
}

Result<> carry_out(const VswapSubject& s, const VswapPlan& plan) {
  if (auto id = s.cgroups.unified_id()) VZ_TRY(write_conf(s, *id, plan.conf));
  VZ_TRY(write_all_of(s.cgroups, plan.writes));
  (void)s.cgroups.apply(plan.lifts, nullptr);
  return {};
}

void register_container(const VswapSubject& s, Reporter& reporter) {
  auto id = s.cgroups.unified_id();
  auto device = VzDevice::open();
  if (!device) {
    // Not having the module is no news; having another one is.
    if (device.error().code() != Code::unsupported)
      reporter.warn("Warning: " + device.error().message() + "; going on without it");
    return;
  }
  auto added = id ? device->add(registry_entry(s, *id)) : fail(std::move(id).error());
  if (!added) reporter.warn("Warning: " + added.error().message());
  // They may have been loaded, or unloaded, by hand.
  if (device->module().ub) (void)device->hand_over_ub(VZ_BPF_PIN_DIR);
}

// Wherever containers are known by their group.
struct Registries {
  Result<VzDevice> device;
  Result<BpfMaps> maps;
  Result<UbMaps> ub;
  static Registries open() { return {VzDevice::open(), BpfMaps::open(), UbMaps::open()}; }
};

void remove_entries(std::uint64_t group, Registries& from) {
  if (from.device) (void)from.device->remove(group);
  if (from.maps) (void)from.maps->remove(group);
  if (from.ub) (void)from.ub->remove(group);
}

std::set<std::uint64_t> registered_groups(Registries& in) {
  std::set<std::uint64_t> known;
  if (auto list = in.device ? in.device->all() : fail(Code::unsupported, "no module"))
    for (const auto& c : *list) known.insert(c.cgroup_id);
  if (auto list = in.maps ? in.maps->containers() : fail(Code::unsupported, "no maps"))
    known.insert(list->begin(), list->end());
  if (auto list = in.ub ? in.ub->read_all() : fail(Code::unsupported, "no maps"))
    for (const auto& entry : *list) known.insert(entry.cgroup_id);
  return known;
}

// Groups of containers that exist now, by id.
std::set<std::uint64_t> living_groups(const CgroupHost& host) {
  std::set<std::uint64_t> out;
  const std::string slice = host.unified + "/" + kSlice;
  auto names = list_dir(slice);
  for (const auto& name : names ? *names : std::vector<std::string>())
    if (auto fd = open_group(-100 /* AT_FDCWD */, slice + "/" + name + "/ct"))
      if (auto id = inode_of(fd->get())) out.insert(*id);
  return out;
}

}  // namespace

bool swap_programs_attached() {
  // Swap-out has another entry in each kernel.
  return BpfMaps::attached("vswap_in") && (BpfMaps::attached("vswap_out_page") || BpfMaps::attached("vswap_out_folio"));
}

VswapFacts probe_vswap(const CgroupHost& host, const Cgroups* cgroups) {
  VswapFacts facts;
  facts.delay_file = delay_file_known(host, cgroups);
  const bool maps = BpfMaps::present();
  facts.programs = maps && swap_programs_attached();
  facts.privvm = maps && BpfMaps::attached("privvm_limit");
  if (!facts.programs) {
    auto device = VzDevice::open();
    facts.programs_why = device ? "the BPF programs are not loaded" : device.error().message();
  }
  const auto* io = host.find(Controller::io);
  facts.io_limits = io && io->v2;
  auto areas = swap_areas();
  for (const auto& area : areas ? *areas : std::vector<SwapArea>())
    if (!area.device.empty()) facts.swap_devices.push_back(area.device);
  return facts;
}

std::uint64_t vswap_rate(const Config& config) { return config.number("VSWAP_RATE").value_or(kDefaultVswapRate); }

std::optional<std::uint64_t> privvm_limit(const Config& config) {
  if (auto own = config.limit("PRIVVMPAGES"))
    return own->limit == Limit::kUnlimited ? std::nullopt : std::optional(own->limit);
  auto factor = config.real("VM_OVERCOMMIT");
  auto ram = pages_of(config, "PHYSPAGES"), swap = pages_of(config, "SWAPPAGES");
  if (!factor || *factor <= 0 || !ram || !swap) return std::nullopt;
  double pages = std::ceil(static_cast<double>(*ram + *swap) * *factor);
  if (pages >= static_cast<double>(Limit::kUnlimited / kPage)) return std::nullopt;
  return static_cast<std::uint64_t>(pages);
}

std::uint64_t swap_delay_us(std::uint64_t rate) {
  if (rate == 0) return 0;
  return std::clamp<std::uint64_t>((1000000 + rate / 2) / rate, 1, kMostDelayUs);  // 0 is no delay at all
}

VswapPlan plan_vswap(Ctid id, const Config& config, const VswapFacts& facts) {
  VswapPlan plan;
  plan.rate = vswap_rate(config);
  plan.conf.privvm_limit = facts.privvm ? privvm_limit(config).value_or(VZ_UNLIMITED) : VZ_UNLIMITED;
  plan.conf.ctid = id.value();
  choose(facts, plan);
  return plan;
}

VswapPlan enter_vswap(const CgroupHost& host, const VswapSubject& subject, Reporter& reporter) {
  register_container(subject, reporter);
  VswapFacts facts = probe_vswap(host, &subject.cgroups);
  for (;;) {
    VswapPlan plan = plan_vswap(subject.id, subject.config, facts);
    plan.conf.boot_ns = subject.boot_ns;
    auto done = carry_out(subject, plan);
    if (done) return plan;
    reporter.warn(fmt::format("Warning: swapping is not slowed down by {}: {}", vswap_mechanism_name(plan.mechanism),
                              done.error().message()));
    if (plan.mechanism == VswapMechanism::limits) return plan;
    facts = without(std::move(facts), plan.mechanism, done.error().message());
  }
}

Result<VswapPlan> change_vswap(const CgroupHost& host, const VswapSubject& subject) {
  VswapPlan plan = plan_vswap(subject.id, subject.config, probe_vswap(host, &subject.cgroups));
  plan.conf.boot_ns = subject.boot_ns;
  VZ_TRY(carry_out(subject, plan));
  auto device = VzDevice::open();
  auto id = subject.cgroups.unified_id();
  if (!device || !id) return plan;
  VzContainer entry = registry_entry(subject, *id);
  if (auto now = device->find(*id); now && *now) entry.flags = (*now)->flags;
  if (!(entry.flags & kVzNoDelay)) {
    // Those that sleep by the old rate wake up.
    VzContainer awake = entry;
    awake.flags |= kVzNoDelay;
    VZ_TRY(device->add(awake));
  }
  VZ_TRY(device->add(entry));
  return plan;
}

bool leave_vswap(const CgroupHost& host, Ctid id, std::uint64_t cgroup_id) {
  auto group = unified_group_id(host, id);
  if (!group && cgroup_id == 0) return host.unified.empty();
  auto registries = Registries::open();
  for (auto known : std::set<std::uint64_t>{group.value_or(0), cgroup_id})
    if (known != 0) remove_entries(known, registries);
  return true;
}

void sweep_vswap(const CgroupHost& host) {
  if (host.unified.empty()) return;
  auto registries = Registries::open();
  // First the entries, then the groups: a container that starts meanwhile has its group before its entry.
  auto known = registered_groups(registries);
  if (known.empty()) return;
  auto living = living_groups(host);
  for (auto id : known)
    if (!living.contains(id)) remove_entries(id, registries);
}

Result<> set_vswap_delay(const CgroupHost& host, const VswapSubject& subject, bool on) {
  VswapPlan plan = plan_vswap(subject.id, subject.config, probe_vswap(host, &subject.cgroups));
  for (auto& w : plan.writes) {
    if (on) continue;
    w.value = w.file == kDelayFile ? "0" : w.value.substr(0, w.value.find("riops=")) + "riops=max";
  }
  VZ_TRY(write_all_of(subject.cgroups, plan.writes));
  if (host.unified.empty()) return {};
  const std::uint64_t id = VZ_TRY(subject.cgroups.unified_id());
  // Delays that are owed already, too.
  if (auto device = VzDevice::open()) {
    VzContainer entry = registry_entry(subject, id);
    entry.flags = on ? 0 : kVzNoDelay;
    VZ_TRY(device->add(entry));
  }
  if (!BpfMaps::present()) return {};
  auto maps = VZ_TRY(BpfMaps::open());
  auto conf = VZ_TRY(maps.read_conf(id));
  if (!conf) return {};
  conf->flags = on ? conf->flags & ~std::uint32_t{VZ_CONF_NO_DELAY} : conf->flags | VZ_CONF_NO_DELAY;
  return maps.set_conf(id, *conf);
}

std::optional<std::uint64_t> spared_memory(const Config& config) {
  auto own = config.limit("OOMGUARPAGES");
  if (own && own->barrier < Limit::kUnlimited / kPage) return own->barrier * kPage;
  auto ram = pages_of(config, "PHYSPAGES");
  if (!ram) return std::nullopt;
  return own ? *ram * kPage : *ram * kPage / 2;
}

}  // namespace vz

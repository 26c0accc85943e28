// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/limits.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hardware.h"

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;  // beancounter pages, whatever the host's page size
constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kPeriodUs = 100000;  // of cpu.max, the kernel's default
constexpr double kFree = std::numeric_limits<double>::infinity();

// One kernel file that a setting decides. `reset` is what it holds without a limit.
struct Item {
  std::string key;  // the setting
  CgroupWrite write;
  std::string reset;
  double room;  // the larger, the more is allowed; orders raises before cuts
  bool same_file(const Item& o) const {
    return write.controller == o.write.controller && write.file == o.write.file && device() == o.device();
  }
  // Per-device files hold one line per device, and io.max several limits in it: "254:0 rbps" is part of the name.
  std::string device() const {
    if (write.controller != Controller::io || write.value.find(':') == std::string::npos) return {};
    auto equals = write.value.find('=');
    return write.value.substr(0, equals != std::string::npos ? equals : write.value.find(' '));
  }
};

struct Note {
  std::string key;
  std::string text;
};

struct Refusal {
  std::string key;
  Error error;
};

// What one configuration wants from the kernel.
struct Wanted {
  std::vector<Item> items;  // memory files in the order in which they can be cut
  std::vector<Note> notes;
  std::vector<Refusal> refusals;
};

std::string mib(std::uint64_t bytes) { return fmt::format("{} MiB", bytes / kMiB); }

class Planner {
 public:
  Planner(const Config& config, const LimitFacts& facts) : config_(config), facts_(facts) {}

  Result<Wanted> run() {
    VZ_TRY(memory());
    cpu_share();
    cpu_quota();
    cpuset();
    io();
    numproc();
    return std::move(out_);
  }

 private:
  void note(const char* key, std::string text) { out_.notes.push_back({key, std::move(text)}); }
  void refuse(const char* key, const std::string& why, std::string remedy) {
    std::string what = fmt::format("{}={}: {}", key, config_.get(key).value_or(""), why);
    out_.refusals.push_back({key, Error(Code::not_enforced, what).with_hint(std::move(remedy))});
  }
  void add(const char* key, Controller c, std::string file, std::string value, std::string reset, double room) {
    out_.items.push_back({key, {c, std::move(file), std::move(value)}, std::move(reset), room});
  }

  // The controller, or a refusal of the setting that needs it.
  const ControllerMount* need(const char* key, Controller c) {
    const auto* mount = facts_.cgroups ? facts_.cgroups->find(c) : nullptr;
    if (!mount)
      refuse(key, fmt::format("this host has no {} cgroup controller", controller_name(c)),
             "use a kernel that has it, without cgroup_disable= on its command line");
    return mount;
  }

  Result<> memory();
  void private_memory();
  void spared(const ControllerMount& mount);
  void memory_v1(std::uint64_t ram, std::optional<std::uint64_t> swap);
  void memory_v2(std::optional<std::uint64_t> ram, std::optional<std::uint64_t> swap);
  bool swap_enforceable(std::uint64_t swap);
  void cpu_share();
  void cpu_quota();
  void cpuset();
  std::optional<std::string> cpu_list();
  void io();
  void io_limit(const char* key, const char* v2_read, const char* v2_write, const char* v1_read, const char* v1_write);
  void io_priority();
  void numproc();

  const Config& config_;
  const LimitFacts& facts_;
  Wanted out_;
};

// Bytes of a page setting's limit; nullopt when unset or unlimited.
std::optional<std::uint64_t> page_limit(const Config& config, const char* key) {
  auto limit = config.limit(key);
  if (!limit || limit->limit >= Limit::kUnlimited / kPage) return std::nullopt;
  return limit->limit * kPage;
}

Result<> Planner::memory() {
  auto ram = page_limit(config_, "PHYSPAGES");
  auto swap = page_limit(config_, "SWAPPAGES");
  if (ram && *ram == 0) return fail(Code::bad_config, "PHYSPAGES: a container needs RAM, the limit is 0");
  private_memory();
  if (ram && *ram > facts_.host_ram)
    note("PHYSPAGES", fmt::format("RAM limit {} is more than the host's {}: the host runs short before the container "
                                  "reaches it",
                                  mib(*ram), mib(facts_.host_ram)));
  if (!ram && !swap) {
    if (const auto* mount = facts_.cgroups ? facts_.cgroups->find(Controller::memory) : nullptr) spared(*mount);
    return {};
  }
  const auto* mount = need(ram ? "PHYSPAGES" : "SWAPPAGES", Controller::memory);
  if (!mount) {
    if (ram && swap) (void)need("SWAPPAGES", Controller::memory);
    return {};
  }
  if (swap && !swap_enforceable(*swap)) swap.reset();
  if (mount->v2) {
    memory_v2(ram, swap);
  } else if (ram) {
    memory_v1(*ram, swap);
  } else if (swap) {
    refuse("SWAPPAGES", "cgroup v1 limits swap only together with RAM", "set --ram too");
  }
  spared(*mount);
  return {};
}

// What the BPF programs are told is not a file: vswap_policy.cc does it.
void Planner::private_memory() {
  if (facts_.private_memory || !privvm_limit(config_)) return;
  const char* key = config_.get("PRIVVMPAGES") ? "PRIVVMPAGES" : "VM_OVERCOMMIT";
  refuse(key, "private memory is bounded by a BPF program that is not loaded",
         "`vzctl vswap start` loads it where the kernel can; `vzctl check` says why not");
}

// Between containers on a host that is short of memory: what is above this is taken first. The multi-gen LRU passes
// over a group below memory.low once and takes from it the next time (shrink_one(), mm/vmscan.c); memory.min it
// respects.
void Planner::spared(const ControllerMount& mount) {
  auto bytes = spared_memory(config_);
  if (mount.v2 && bytes) {
    add("OOMGUARPAGES", Controller::memory, "memory.low", std::to_string(*bytes), "0", kFree);
    if (facts_.multi_gen_lru) add("OOMGUARPAGES", Controller::memory, "memory.min", std::to_string(*bytes), "0", kFree);
  } else if (!mount.v2 && config_.get("OOMGUARPAGES"))
    note("OOMGUARPAGES", "OOMGUARPAGES has no effect with cgroup v1: the host takes memory from all containers alike");
}

bool Planner::swap_enforceable(std::uint64_t swap) {
  if (facts_.host_swap == 0 && swap > 0)
    note("SWAPPAGES",
         fmt::format("swap limit {}: this host has no swap device, so nothing can be swapped out and the "
                     "container's OOM kill comes at its RAM limit; `vzctl vswap start` adds compressed RAM "
                     "as swap, which is used at once",
                     mib(swap)));
  if (facts_.cgroups->swap_accounting) return true;
  if (facts_.host_swap == 0) return false;  // nothing there to be limited
  refuse("SWAPPAGES", "the kernel does not account swap per cgroup", "boot with swapaccount=1");
  return false;
}

// memory.swap.max first: what a RAM cut pushes out must fit into the new swap limit.
void Planner::memory_v2(std::optional<std::uint64_t> ram, std::optional<std::uint64_t> swap) {
  if (swap)
    add("SWAPPAGES", Controller::memory, "memory.swap.max", std::to_string(*swap), "max", static_cast<double>(*swap));
  if (ram) add("PHYSPAGES", Controller::memory, "memory.max", std::to_string(*ram), "max", static_cast<double>(*ram));
}

// memsw counts RAM and swap together and must never be below the RAM limit.
void Planner::memory_v1(std::uint64_t ram, std::optional<std::uint64_t> swap) {
  add("PHYSPAGES", Controller::memory, "memory.limit_in_bytes", std::to_string(ram), "-1", static_cast<double>(ram));
  if (!swap || ram > Limit::kUnlimited - *swap) return;
  add("SWAPPAGES", Controller::memory, "memory.memsw.limit_in_bytes", std::to_string(ram + *swap), "-1",
      static_cast<double>(ram + *swap));
}

// CPUUNITS 1000 is the kernel's default share on both versions.
void Planner::cpu_share() {
  auto units = config_.number("CPUUNITS");
  if (!units) return;
  const auto* mount = need("CPUUNITS", Controller::cpu);
  if (!mount) return;
  if (mount->v2)
    add("CPUUNITS", Controller::cpu, "cpu.weight", std::to_string(std::clamp<std::uint64_t>(*units / 10, 1, 10000)),
        "100", kFree);
  else
    add("CPUUNITS", Controller::cpu, "cpu.shares",
        std::to_string(std::clamp<std::uint64_t>(std::min<std::uint64_t>(*units, 500000) * 1024 / 1000, 2, 262144)),
        "1024", kFree);
}

// "25" and "25%" are 25 % of one CPU.
std::optional<std::uint64_t> percent(const Config& config, const char* key) {
  auto text = config.get(key);
  if (!text) return std::nullopt;
  std::string_view digits = trim(*text);
  if (digits.ends_with('%')) digits.remove_suffix(1);
  auto value = parse_u64(digits);
  return value ? std::optional(*value) : std::nullopt;
}

// CPULIMIT and CPUS both bound time; the smaller one counts. 0 is unlimited.
void Planner::cpu_quota() {
  std::uint64_t limit = percent(config_, "CPULIMIT").value_or(0);
  std::uint64_t cpus = config_.number("CPUS").value_or(0);
  if (limit == 0 && cpus == 0) return;
  const char* key = limit != 0 ? "CPULIMIT" : "CPUS";
  const auto* mount = need(key, Controller::cpu);
  if (!mount) return;
  // A kernel quota is at most 2^44 us of a second or so; far beyond any machine.
  constexpr std::uint64_t kMost = 100ull * 65536;
  std::uint64_t percent_of_cpu = kMost;
  if (limit != 0) percent_of_cpu = std::min(percent_of_cpu, limit);
  if (cpus != 0) percent_of_cpu = std::min(percent_of_cpu, std::min<std::uint64_t>(cpus, 65536) * 100);
  std::uint64_t quota = percent_of_cpu * kPeriodUs / 100;  // never below the kernel's minimum of 1 ms
  if (mount->v2) {
    add(key, Controller::cpu, "cpu.max", fmt::format("{} {}", quota, kPeriodUs), fmt::format("max {}", kPeriodUs),
        static_cast<double>(quota));
    return;
  }
  add(key, Controller::cpu, "cpu.cfs_period_us", std::to_string(kPeriodUs), std::to_string(kPeriodUs), kFree);
  add(key, Controller::cpu, "cpu.cfs_quota_us", std::to_string(quota), "-1", static_cast<double>(quota));
}

// "0-3,5" as a set; nullopt when it is malformed or has a number above any machine's.
std::optional<std::set<unsigned>> parse_list(std::string_view text) {
  constexpr std::uint64_t kMost = 65536;
  std::set<unsigned> out;
  for (const auto& part : split(text, ',')) {
    auto ends = split(trim(part), '-');
    if (ends.empty() || ends.size() > 2) return std::nullopt;
    auto first = parse_u64(ends.front());
    auto last = parse_u64(ends.back());
    if (!first || !last || *first > *last || *last >= kMost) return std::nullopt;
    for (auto n = *first; n <= *last; ++n) out.insert(static_cast<unsigned>(n));
  }
  return out;
}

bool is_subset(std::string_view text, std::string_view of) {
  auto part = parse_list(text), whole = parse_list(of);
  return part && whole && std::includes(whole->begin(), whole->end(), part->begin(), part->end());
}

// The CPUs of CPUMASK; nullopt when it sets none.
std::optional<std::string> Planner::cpu_list() {
  auto mask = config_.get("CPUMASK");
  if (!mask || mask->empty() || *mask == "all") return std::nullopt;
  if (*mask != "auto") return mask;
  auto nodes = parse_list(config_.get("NODEMASK").value_or(""));
  std::vector<std::string> cpus;
  if (nodes)
    for (const auto& [node, list] : facts_.node_cpus)
      if (nodes->contains(node) && !list.empty()) cpus.push_back(list);
  if (!cpus.empty()) return join(cpus, ",");
  if (config_.get("NODEMASK").value_or("all") != "all")
    refuse("CPUMASK", "the nodes of NODEMASK have no CPUs here", "name CPUs, or other nodes");
  return std::nullopt;
}

void Planner::cpuset() {
  struct Row {
    const char* key;
    std::optional<std::string> list;
    const char* file;
    const std::string& available;
    const char* what;
  };
  auto nodemask = config_.get("NODEMASK");
  if (nodemask && (nodemask->empty() || *nodemask == "all")) nodemask.reset();
  for (const auto& row : {Row{"CPUMASK", cpu_list(), "cpuset.cpus", facts_.host_cpu_list, "CPUs"},
                          Row{"NODEMASK", nodemask, "cpuset.mems", facts_.host_node_list, "memory nodes"}}) {
    if (!row.list) continue;
    if (!need(row.key, Controller::cpuset)) continue;
    if (!is_subset(*row.list, row.available)) {
      refuse(row.key, fmt::format("this host has {} {}", row.what, row.available), "name only those");
      continue;
    }
    // All by name: the kernel refuses an empty list while there are processes (ENOSPC), on v2 too.
    add(row.key, Controller::cpuset, row.file, *row.list, row.available, kFree);
  }
}

void Planner::io() {
  io_limit("IOLIMIT", "rbps", "wbps", "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device");
  io_limit("IOPSLIMIT", "riops", "wiops", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device");
  io_priority();
}

void Planner::io_limit(const char* key, const char* v2_read, const char* v2_write, const char* v1_read,
                       const char* v1_write) {
  auto limit = config_.number(key);
  if (!limit || *limit == 0) return;
  const auto* mount = need(key, Controller::io);
  if (!mount) return;
  if (facts_.io_device.empty())
    return refuse(key, "the private area is not on a disk whose I/O can be limited (network, overlay or btrfs)",
                  "put VE_PRIVATE on a local disk, or use --ioprio");
  const double room = static_cast<double>(*limit);
  if (mount->v2) {
    auto line = [&](const std::string& n) {
      return fmt::format("{} {}={} {}={}", facts_.io_device, v2_read, n, v2_write, n);
    };
    return add(key, Controller::io, "io.max", line(std::to_string(*limit)), line("max"), room);
  }
  for (const char* file : {v1_read, v1_write})
    add(key, Controller::io, file, fmt::format("{} {}", facts_.io_device, *limit), facts_.io_device + " 0", room);
  note(key, fmt::format("{}: with cgroup v1 it covers reads and direct or synchronous writes; what goes through the "
                        "page cache is written by the host, unlimited",
                        key));
}

// 0..7, 4 is the kernel's default weight of 100; a step is a factor of sqrt(2), so 7 gets 11 times the share of 0.
void Planner::io_priority() {
  auto priority = config_.number("IOPRIO");
  if (!priority) return;
  if (*priority == 4 && (facts_.io_weight_file.empty() || !facts_.io_weight_active)) return;  // equal shares anyway
  if (!need("IOPRIO", Controller::io)) return;
  if (facts_.io_weight_file.empty())
    return refuse("IOPRIO", "this kernel has no I/O weights",
                  "load the bfq module, or use a kernel with BLK_CGROUP_IOCOST");
  if (!facts_.io_weight_active)
    note("IOPRIO", fmt::format("IOPRIO has no effect until the disk {} schedules by weight; `echo bfq > "
                               "/sys/dev/block/{}/queue/scheduler` does that",
                               facts_.io_device, facts_.io_device));
  double step = static_cast<double>(std::min<std::uint64_t>(*priority, 7)) - 4;
  add("IOPRIO", Controller::io, facts_.io_weight_file, std::to_string(std::lround(100 * std::exp2(step / 2))), "100",
      kFree);
}

void Planner::numproc() {
  auto limit = config_.limit("NUMPROC");
  // pids.max knows no number above the kernel's pid space.
  if (!limit || limit->limit >= 4194304) return;
  if (!need("NUMPROC", Controller::pids)) return;
  add("NUMPROC", Controller::pids, "pids.max", std::to_string(limit->limit), "max", static_cast<double>(limit->limit));
}

const Item* find_item(const std::vector<Item>& items, const Item& like) {
  auto found = std::find_if(items.begin(), items.end(), [&](const Item& i) { return i.same_file(like); });
  return found == items.end() ? nullptr : &*found;
}

// The same file without a limit, as the side of a change that does not mention it.
Item without_limit(Item item) {
  item.write.value = item.reset;
  item.room = kFree;
  return item;
}

}  // namespace

Result<LimitFacts> read_limit_facts(const CgroupHost& cgroups, const std::string& private_path) {
  LimitFacts facts;
  facts.cgroups = &cgroups;
  auto memory = VZ_TRY(host_memory());
  facts.host_ram = memory.ram;
  facts.host_swap = memory.swap;
  facts.multi_gen_lru = multi_gen_lru();
  auto processors = host_processors();
  facts.host_cpu_list = processors.cpus;
  facts.host_node_list = processors.nodes;
  facts.node_cpus = std::move(processors.local);
  if (auto cpus = parse_list(facts.host_cpu_list)) facts.host_cpus = static_cast<unsigned>(cpus->size());
  auto disk = disk_of(private_path);
  facts.io_device = disk.device;
  facts.io_weight_file = cgroups.io_weight_file;
  facts.io_weight_active = disk.bfq || disk.io_cost;
  facts.private_memory = BpfMaps::attached("privvm_limit");
  const auto* io = cgroups.find(Controller::io);
  if (io && io->v2 && disk.bfq) facts.io_weight_file = "io.bfq.weight";  // bfq does not look at io.weight
  return facts;
}

Result<LimitPlan> plan_limits(const Config& config, const LimitFacts& facts) {
  auto wanted = VZ_TRY(Planner(config, facts).run());
  LimitPlan plan;
  for (auto& item : wanted.items)
    if (item.write.value != item.reset) plan.writes.push_back(std::move(item.write));
  for (auto& note : wanted.notes) plan.warnings.push_back(std::move(note.text));
  for (auto& refusal : wanted.refusals) plan.not_enforceable.push_back(std::move(refusal.error));
  return plan;
}

Result<LimitPlan> plan_limit_change(const Config& from, const Config& to, const LimitFacts& facts) {
  auto before = VZ_TRY(Planner(from, facts).run());
  auto after = VZ_TRY(Planner(to, facts).run());
  auto changed = [&](const std::string& key) { return from.get(key) != to.get(key); };
  // Every file that either side mentions, in cut order.
  std::vector<Item> targets = after.items;
  for (const auto& item : before.items)
    if (!find_item(after.items, item)) targets.push_back(without_limit(item));
  std::vector<CgroupWrite> raises, cuts;
  for (const auto& item : targets) {
    const Item* old = find_item(before.items, item);
    const Item previous = old ? *old : without_limit(item);
    if (previous.write.value == item.write.value) continue;
    (item.room < previous.room ? cuts : raises).push_back(item.write);
  }
  LimitPlan plan;
  // Raises in the reverse of the cut order: on v1 memsw goes up before the RAM limit and down after it.
  plan.writes.assign(raises.rbegin(), raises.rend());
  plan.writes.insert(plan.writes.end(), cuts.begin(), cuts.end());
  for (auto& note : after.notes)
    if (changed(note.key)) plan.warnings.push_back(std::move(note.text));
  for (auto& refusal : after.refusals)
    if (changed(refusal.key)) plan.not_enforceable.push_back(std::move(refusal.error));
  return plan;
}

}  // namespace vz

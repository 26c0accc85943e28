// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/sample.h"

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libvz/base/text.h"
#include "libvz/kernel/cgroup_file.h"

namespace vz {

namespace {

using Value = std::optional<std::uint64_t>;

constexpr std::uint64_t kPage = 4096;  // of the beancounters, on every host

// One number. "max" and v1's page-rounded LONG_MAX are both unlimited.
Value number(std::string_view text) {
  constexpr std::uint64_t kUnlimitedV1 = Limit::kUnlimited - 65535;
  text = trim(text);
  if (text == "max") return Limit::kUnlimited;
  auto value = parse_u64(text);
  if (!value) return std::nullopt;
  return *value >= kUnlimitedV1 ? Limit::kUnlimited : *value;
}

// "name value" lines: memory.stat, memory.events, cpu.stat, memory.oom_control.
Value field(std::string_view text, std::string_view name) { return number(line_value(text, std::string(name) + " ")); }

Value minus(Value a, Value b) {
  if (!a || !b) return std::nullopt;
  if (*a == Limit::kUnlimited) return a;
  return *a > *b ? *a - *b : 0;
}

// The groups of a container; on cgroup v2 one directory for all controllers.
class Groups {
 public:
  Groups(const SampleSources& sources, Ctid id) : sources_(sources), id_(id) {}

  // nullptr: there is none.
  const GroupDir* in(const std::string& mount) {
    for (const auto& [path, dir] : open_)
      if (path == mount) return dir ? &*dir : nullptr;
    auto& [path, dir] = open_.emplace_back(mount, std::nullopt);
    if (auto opened = GroupDir::open(mount, id_)) dir = *std::move(opened);
    return dir ? &*dir : nullptr;
  }
  const SampleSources& sources() const { return sources_; }

 private:
  const SampleSources& sources_;
  Ctid id_;
  std::deque<std::pair<std::string, std::optional<GroupDir>>> open_;
};

// The files of one controller of a container, each read at most once.
class Files {
 public:
  Files(const ControllerMount& mount, const GroupDir* dir) : v2_(mount.v2), dir_(dir) {}

  bool v2() const { return v2_; }
  const std::string& text(const char* file) {
    for (const auto& [name, text] : read_)
      if (name == file) return text;
    return read_.emplace_back(file, dir_ ? dir_->read(file).value_or("") : "").second;
  }
  Value value(const char* file) { return number(text(file)); }
  Value field(const char* file, std::string_view name) { return vz::field(text(file), name); }

 private:
  bool v2_;
  const GroupDir* dir_;
  std::vector<std::pair<std::string_view, std::string>> read_;
};

// Hits of the container's own limit: memory.events has those of limits that it set for its services, too.
Value limit_hits(Files& f) {
  auto own = f.field("memory.events.local", "max");
  return own ? own : f.field("memory.events", "max");
}

void sample_memory_v2(Files& f, const Readings& wanted, Sample& s) {
  if (wanted.has(Reading::ram_held)) s.ram_held = f.value("memory.current");
  if (wanted.has(Reading::ram_max)) s.ram_max = f.value("memory.peak");
  if (wanted.has(Reading::ram_limit)) s.ram_limit = f.value("memory.max");
  if (wanted.has(Reading::ram_fail)) s.ram_fail = limit_hits(f);
  if (wanted.has(Reading::swap_held)) s.swap_held = f.value("memory.swap.current");
  if (wanted.has(Reading::swap_max)) s.swap_max = f.value("memory.swap.peak");
  if (wanted.has(Reading::swap_limit)) s.swap_limit = f.value("memory.swap.max");
  // "fail" would also count what the host's own lack of swap refused.
  if (wanted.has(Reading::swap_fail)) s.swap_fail = f.field("memory.swap.events", "max");
  if (wanted.has(Reading::oom)) {
    s.ooms = f.field("memory.events", "oom");
    s.oom_kills = f.field("memory.events", "oom_kill");
  }
  if (wanted.has(Reading::kmem)) s.kmem_held = f.field("memory.stat", "kernel");
  if (wanted.has(Reading::sock)) s.sock_held = f.field("memory.stat", "sock");
  if (wanted.has(Reading::shmem)) s.shmem_held = f.field("memory.stat", "shmem");
  // mlock, SHM_LOCK, secretmem
  if (wanted.has(Reading::locked)) s.locked_held = f.field("memory.stat", "unevictable");
  if (wanted.has(Reading::dcache)) s.dcache_held = f.field("memory.stat", "slab_reclaimable");
}

// The kernel asks the limit of RAM+swap first: with no swap, that of RAM alone never refuses. Newer kernels do not
// count what the sum refuses (track_failcnt is not set for memsw, seen on 6.18), but a kill is one refusal at least.
Value limit_hits_v1(Files& f) {
  auto ram = f.value("memory.failcnt");
  if (!ram) return ram;
  auto kills = f.field("memory.oom_control", "oom_kill").value_or(0);
  return std::max(*ram + f.value("memory.memsw.failcnt").value_or(0), kills);
}

// v1 knows RAM and RAM+swap; the greatest swap is unknown, because the two peaks differ in time.
void sample_memory_v1(Files& f, const Readings& wanted, Sample& s) {
  if (wanted.has(Reading::ram_held)) s.ram_held = f.value("memory.usage_in_bytes");
  if (wanted.has(Reading::ram_max)) s.ram_max = f.value("memory.max_usage_in_bytes");
  if (wanted.any({Reading::ram_limit, Reading::swap_limit})) s.ram_limit = f.value("memory.limit_in_bytes");
  if (wanted.has(Reading::ram_fail)) s.ram_fail = limit_hits_v1(f);
  if (wanted.has(Reading::swap_held)) s.swap_held = f.field("memory.stat", "total_swap");
  if (wanted.has(Reading::swap_limit)) s.swap_limit = minus(f.value("memory.memsw.limit_in_bytes"), s.ram_limit);
  if (wanted.has(Reading::swap_fail)) s.swap_fail = f.value("memory.memsw.failcnt");
  if (wanted.has(Reading::ram_swap_max)) s.ram_swap_max = f.value("memory.memsw.max_usage_in_bytes");
  if (wanted.has(Reading::oom)) s.oom_kills = f.field("memory.oom_control", "oom_kill");
  if (wanted.has(Reading::kmem)) {
    s.kmem_held = f.value("memory.kmem.usage_in_bytes");
    s.kmem_max = f.value("memory.kmem.max_usage_in_bytes");
    s.kmem_fail = f.value("memory.kmem.failcnt");
  }
  if (wanted.has(Reading::sock)) s.sock_held = f.value("memory.kmem.tcp.usage_in_bytes");
  if (wanted.has(Reading::shmem)) s.shmem_held = f.field("memory.stat", "total_shmem");
  if (wanted.has(Reading::locked)) s.locked_held = f.field("memory.stat", "total_unevictable");
}

void sample_processes(Files& f, const Readings& wanted, Sample& s) {
  if (wanted.has(Reading::numproc)) s.numproc = f.value("pids.current");
  if (wanted.has(Reading::numproc_max)) s.numproc_max = f.value("pids.peak");  // Linux 6.1
  if (wanted.has(Reading::numproc_limit)) s.numproc_limit = f.value("pids.max");
  if (wanted.has(Reading::numproc_fail)) s.numproc_fail = f.field("pids.events", "max");
}

void sample_cpu(Files& f, Sample& s) {
  s.cpu_ns = f.v2() ? f.field("cpu.stat", "usage_usec") : f.value("cpuacct.usage");
  if (f.v2() && s.cpu_ns) *s.cpu_ns *= 1000;
}

void sample_private(Groups& groups, Sample& s) {
  const auto* dir = groups.in(groups.sources().cgroups.unified);
  auto group = dir ? dir->id() : fail(Code::unsupported, "no cgroup2");
  auto state = group ? groups.sources().maps->read_state(*group) : Result<std::optional<vz_state>>(std::nullopt);
  if (!state || !*state) return;
  s.privvm_held = (*state)->privvm_held * kPage;
  s.privvm_max = (*state)->privvm_maxheld * kPage;
  s.privvm_fail = (*state)->privvm_failcnt;
}

constexpr Readings kProcesses{Reading::numproc, Reading::numproc_max, Reading::numproc_limit, Reading::numproc_fail};
constexpr Readings kMemory{Reading::ram_held,     Reading::ram_max,  Reading::ram_limit,  Reading::ram_fail,
                           Reading::swap_held,    Reading::swap_max, Reading::swap_limit, Reading::swap_fail,
                           Reading::ram_swap_max, Reading::kmem,     Reading::sock,       Reading::shmem,
                           Reading::locked,       Reading::dcache,   Reading::oom};

}  // namespace

Sample sample_cgroups(const SampleSources& sources, Ctid id, const Readings& wanted) {
  Sample s;
  Groups groups(sources, id);
  auto files = [&](Controller c, const Readings& group) -> std::optional<Files> {
    const auto* mount = wanted.any(group) ? sources.cgroups.find(c) : nullptr;
    return mount ? std::optional<Files>(std::in_place, *mount, groups.in(mount->path)) : std::nullopt;
  };
  if (auto f = files(Controller::pids, kProcesses)) sample_processes(*f, wanted, s);
  if (auto f = files(Controller::memory, kMemory))
    f->v2() ? sample_memory_v2(*f, wanted, s) : sample_memory_v1(*f, wanted, s);
  if (auto f = files(Controller::cpuacct, {Reading::cpu})) sample_cpu(*f, s);
  if (sources.maps && wanted.has(Reading::privvm)) sample_private(groups, s);
  return s;
}

}  // namespace vz

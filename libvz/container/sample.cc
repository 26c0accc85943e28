// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/sample.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "libvz/base/text.h"
#include "libvz/container/state.h"
#include "libvz/kernel/disk_usage.h"

namespace vz {

namespace {

using Value = std::optional<std::uint64_t>;

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
Value field(const std::string& text, std::string_view name) {
  for (const auto& line : split(text, '\n')) {
    auto words = split_blank(line);
    if (words.size() == 2 && words[0] == name) return number(words[1]);
  }
  return std::nullopt;
}

Value minus(Value a, Value b) {
  if (!a || !b) return std::nullopt;
  if (*a == Limit::kUnlimited) return a;
  return *a > *b ? *a - *b : 0;
}

// The files of one controller of a container.
struct Files {
  const Cgroups& cgroups;
  Controller controller;
  std::string text(const char* file) const { return cgroups.read(controller, file).value_or(""); }
  Value value(const char* file) const { return number(text(file)); }
};

void sample_memory_v2(const Files& f, Sample& s) {
  s.ram_held = f.value("memory.current");
  s.ram_max = f.value("memory.peak");
  s.ram_limit = f.value("memory.max");
  auto events = f.text("memory.events");
  s.ram_fail = field(events, "max");
  s.oom_kills = field(events, "oom_kill");
  s.swap_held = f.value("memory.swap.current");
  s.swap_max = f.value("memory.swap.peak");
  s.swap_limit = f.value("memory.swap.max");
  s.swap_fail = field(f.text("memory.swap.events"), "fail");
  auto stat = f.text("memory.stat");
  s.kmem_held = field(stat, "kernel");
  s.sock_held = field(stat, "sock");
  s.shmem_held = field(stat, "shmem");
  s.locked_held = field(stat, "unevictable");  // mlock, SHM_LOCK, secretmem
}

// v1 knows RAM and RAM+swap; swap is the difference, and its maximum is unknown (the two peaks differ in time).
void sample_memory_v1(const Files& f, Sample& s) {
  s.ram_held = f.value("memory.usage_in_bytes");
  s.ram_max = f.value("memory.max_usage_in_bytes");
  s.ram_limit = f.value("memory.limit_in_bytes");
  s.ram_fail = f.value("memory.failcnt");
  s.oom_kills = field(f.text("memory.oom_control"), "oom_kill");
  s.swap_limit = minus(f.value("memory.memsw.limit_in_bytes"), s.ram_limit);
  s.swap_fail = f.value("memory.memsw.failcnt");
  auto stat = f.text("memory.stat");
  s.swap_held = field(stat, "total_swap");
  s.kmem_held = f.value("memory.kmem.usage_in_bytes");
  s.sock_held = f.value("memory.kmem.tcp.usage_in_bytes");
  s.shmem_held = field(stat, "total_shmem");
  s.locked_held = field(stat, "total_unevictable");
}

void sample_processes(const Files& f, Sample& s) {
  s.numproc = f.value("pids.current");
  s.numproc_max = f.value("pids.peak");  // Linux 6.1
  s.numproc_limit = f.value("pids.max");
  s.numproc_fail = field(f.text("pids.events"), "max");
}

void sample_cpu(const Files& f, bool v2, Sample& s) {
  s.cpu_ns = v2 ? field(f.text("cpu.stat"), "usage_usec") : f.value("cpuacct.usage");
  if (v2 && s.cpu_ns) *s.cpu_ns *= 1000;
}

void sample_disk(const Host& host, Ctid id, pid_t init, Sample& s) {
  auto config = host.load(id);
  auto disk = root_usage(init, config ? host.private_path(id, *config) : host.paths().lib);
  if (!disk) return;
  s.disk_used = disk->bytes_used;
  s.disk_total = disk->bytes_total;
  s.inodes_used = disk->inodes_used;
  s.inodes_total = disk->inodes_total;
}

}  // namespace

void sample_cgroups(const Cgroups& cgroups, const CgroupHost& host, Sample& s, SampleParts parts) {
  if (host.find(Controller::pids)) sample_processes({cgroups, Controller::pids}, s);
  if (parts == SampleParts::processes) return;
  if (const auto* memory = host.find(Controller::memory)) {
    Files f{cgroups, Controller::memory};
    memory->v2 ? sample_memory_v2(f, s) : sample_memory_v1(f, s);
  }
  if (const auto* cpu = host.find(Controller::cpuacct)) sample_cpu({cgroups, Controller::cpuacct}, cpu->v2, s);
}

Result<Sample> sample_container(const Host& host, const CgroupHost& cgroup_host, Ctid id, SampleParts parts) {
  auto state = VZ_TRY(running_state(host, id));
  if (!state) return fail(Code::not_running, "container " + id.str() + " is not running");
  auto cgroups = VZ_TRY(Cgroups::open(cgroup_host, id));
  Sample sample;
  sample_cgroups(cgroups, cgroup_host, sample, parts);
  if (parts == SampleParts::processes) return sample;
  // The pid stays this process's while we hold its pidfd and it lives; a reading of a dead one is no reading.
  auto pidfd = VZ_TRY(open_process(state->init));
  sample_disk(host, id, state->init.pid, sample);
  VZ_TRY(open_process(state->init));  // still the same: /proc/PID/root was this container's
  return sample;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/usage_live.h"

#include <algorithm>
#include <ctime>

#include "libvz/base/text.h"
#include "libvz/container/sample.h"
#include "libvz/container/state.h"
#include "libvz/container/traffic.h"
#include "libvz/kernel/boot_id.h"
#include "libvz/kernel/cgroup_file.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/disk_device.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kSecond = 1000000000;

std::uint64_t number(std::string_view text) {
  auto value = parse_u64(trim(text));
  return value ? *value : 0;
}

std::optional<CpuTime> read_cpu(const ControllerMount& mount, Ctid id) {
  if (mount.v2) {
    auto text = read_group_file(mount, id, "cpu.stat");
    return text ? parse_cpu_stat(*text) : std::nullopt;
  }
  auto total = read_group_file(mount, id, "cpuacct.usage");
  if (!total) return std::nullopt;
  auto part = [&](const char* file) { return number(read_group_file(mount, id, file).value_or("")); };
  return CpuTime{number(*total), part("cpuacct.usage_user"), part("cpuacct.usage_sys")};
}

// Only disks: what a loop device or a device mapper passes on is counted at the disk below, for the same container.
IoByDevice read_io(const ControllerMount& mount, Ctid id) {
  auto text = [&](const char* file) { return read_group_file(mount, id, file).value_or(""); };
  auto out = mount.v2 ? parse_io_stat(text("io.stat"))
                      : parse_blkio(text("blkio.throttle.io_service_bytes"), text("blkio.throttle.io_serviced"));
  std::erase_if(out, [](const auto& entry) { return !is_disk(entry.first); });
  return out;
}

// Without cgroup2: the inode of a v1 group of this run, which is as good a mark.
std::uint64_t group_of(const CgroupHost& host, Ctid id) {
  if (!host.unified.empty()) return unified_group_id(host, id).value_or(0);
  auto cgroups = Cgroups::open(host, id);
  const int fd = cgroups ? cgroups->ct_fd(Controller::cpuacct) : -1;
  return fd < 0 ? 0 : inode_of(fd).value_or(0);
}

void read_memory(const UsageSources& sources, Ctid id, LiveUsage& live) {
  Sample s = sample_cgroups({sources.cgroups, nullptr}, id,
                            {Reading::ram_held, Reading::ram_max, Reading::swap_held, Reading::swap_max});
  live.memory = {s.ram_held.value_or(0) / 1024, s.swap_held.value_or(0) / 1024};
  live.peak = {s.ram_max.value_or(0) / 1024, s.swap_max.value_or(0) / 1024};
}

void read_run(const Host& host, Ctid id, LiveUsage& live) {
  live.started_s = live.now_s;
  auto state = load_state(host, id);
  if (!state || !*state || (*state)->boot_id != live.boot_id) return;
  live.ended = (*state)->init.pid <= 0 || !is_alive((*state)->init);
  if (!live.ended) {
    live.started_s = live.now_s - std::min(live.now_s, age_ns((*state)->init) / kSecond);
    return;
  }
  // The wall clock may have been set since: never before the host's boot, never after now.
  const std::int64_t age = std::time(nullptr) - (*state)->started_at;
  live.started_s = live.now_s - std::min(live.now_s, static_cast<std::uint64_t>(std::max<std::int64_t>(age, 0)));
}

}  // namespace

std::optional<CpuTime> parse_cpu_stat(std::string_view text) {
  CpuTime out;
  bool found = false;
  for (const auto& line : split(text, '\n')) {
    auto words = split_blank(line);
    if (words.size() != 2) continue;
    if (words[0] == "usage_usec") {
      out.total = number(words[1]) * 1000;
      found = true;
    }
    if (words[0] == "user_usec") out.user = number(words[1]) * 1000;
    if (words[0] == "system_usec") out.system = number(words[1]) * 1000;
  }
  return found ? std::optional(out) : std::nullopt;
}

IoByDevice parse_io_stat(std::string_view text) {
  IoByDevice out;
  for (const auto& line : split(text, '\n')) {
    auto words = split_blank(line);
    if (words.size() < 2 || words[0].find(':') == std::string::npos) continue;
    IoCounts counts;
    for (std::string_view word : words) {
      auto equals = word.find('=');
      if (equals == word.npos) continue;
      auto key = word.substr(0, equals);
      auto value = number(word.substr(equals + 1));
      if (key == "rbytes") counts.read_bytes = value;
      if (key == "wbytes") counts.written_bytes = value;
      if (key == "rios") counts.reads = value;
      if (key == "wios") counts.writes = value;
    }
    out[words[0]] = counts;
  }
  return out;
}

IoByDevice parse_blkio(std::string_view bytes, std::string_view operations) {
  IoByDevice out;
  for (bool is_bytes : {true, false})
    for (const auto& line : split(is_bytes ? bytes : operations, '\n')) {
      auto words = split_blank(line);  // "8:0 Read 4096"; the last line is "Total 4096"
      if (words.size() != 3) continue;
      auto& counts = out[words[0]];
      if (words[1] == "Read") (is_bytes ? counts.read_bytes : counts.reads) = number(words[2]);
      if (words[1] == "Write") (is_bytes ? counts.written_bytes : counts.writes) = number(words[2]);
    }
  return out;
}

Result<UsageSources> UsageSources::open() {
  UsageSources out;
  out.cgroups = VZ_TRY(CgroupHost::probe());
  if (auto maps = TrafficMaps::open()) out.traffic = std::move(*maps);
  out.boot_id = read_boot_id();
  return out;
}

Result<UsageSources> UsageSources::open_for_all() {
  UsageSources out = VZ_TRY(open());
  if (!out.traffic) return out;
  for (const auto& [id, counts] : VZ_TRY(out.traffic->read_all())) out.counts[id] = to_traffic(counts);
  return out;
}

namespace {

std::optional<Traffic> read_traffic(const UsageSources& sources, Ctid id) {
  if (!sources.counts.empty()) {
    auto found = sources.counts.find(id.value());
    return found == sources.counts.end() ? std::nullopt : std::optional(found->second);
  }
  auto counts = sources.traffic->read(id.value());
  return counts && *counts ? std::optional(to_traffic(**counts)) : std::nullopt;
}

}  // namespace

LiveUsage read_live_usage(const Host& host, const UsageSources& sources, Ctid id) {
  LiveUsage live;
  live.boot_id = sources.boot_id;
  live.now_s = boottime_ns() / kSecond;
  live.group = group_of(sources.cgroups, id);
  if (live.group != 0) {
    read_run(host, id, live);
    if (const auto* cpu = sources.cgroups.find(Controller::cpuacct)) live.cpu = read_cpu(*cpu, id);
    if (const auto* io = sources.cgroups.find(Controller::io)) live.io = read_io(*io, id);
    read_memory(sources, id, live);
  }
  if (!sources.traffic) return live;
  auto traffic = read_traffic(sources, id);
  if (!traffic) return live;
  live.traffic_map = sources.traffic->id();
  live.traffic = *traffic;
  return live;
}

}  // namespace vz

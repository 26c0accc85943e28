// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/memory_report.h>

#include <algorithm>

#include "libvz/base/text.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/hardware.h"
#include "libvz/kernel/swap.h"
#include "libvz/kernel/zram.h"

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMostPages = Limit::kUnlimited / kPage;
constexpr std::uint64_t kEnoughToMeasure = 16u << 20;  // bytes in zram; a ratio of less says nothing

using Value = std::optional<std::uint64_t>;

// Sums stay at the largest number instead of wrapping.
std::uint64_t add(std::uint64_t a, std::uint64_t b) { return a > Limit::kUnlimited - b ? Limit::kUnlimited : a + b; }

bool bounded(const std::optional<Limit>& limit) { return limit && limit->limit < kMostPages; }

// Bytes of a page setting's limit; nullopt: no limit.
Value bytes_of(const std::optional<Limit>& limit) {
  return bounded(limit) ? Value(limit->limit * kPage) : std::nullopt;
}

double measured_ratio(const HostMemoryState& host, bool* measured) {
  std::uint64_t stored = 0, ram = 0;
  for (const auto& device : host.swaps) {
    stored += device.stored;
    ram += device.ram;
  }
  *measured = stored >= kEnoughToMeasure && ram > 0;
  return *measured ? static_cast<double>(stored) / static_cast<double>(ram) : kAssumedRatio;
}

// How much of `excess` bytes over the host's RAM zram can take: a byte in it frees a byte of RAM and takes 1/ratio.
std::uint64_t into_zram(std::uint64_t excess, std::uint64_t zram_size, std::uint64_t host_ram, double ratio) {
  if (ratio <= 1) return 0;  // more RAM taken than freed
  double wanted = static_cast<double>(excess) / (1 - 1 / ratio);
  double most = std::min(static_cast<double>(zram_size), static_cast<double>(host_ram) * ratio);
  return static_cast<std::uint64_t>(std::min(wanted, most));
}

// The number of "/dev/zramN"; nullopt: another device.
std::optional<unsigned> zram_number(std::string_view path) {
  constexpr std::string_view kPrefix = "/dev/zram";
  auto number = path.starts_with(kPrefix) ? parse_u64(path.substr(kPrefix.size())) : fail(Code::bad_value, "");
  return number && *number <= 0xffffffff ? std::optional(static_cast<unsigned>(*number)) : std::nullopt;
}

SwapDevice swap_device(const SwapArea& area) {
  SwapDevice out;
  out.name = area.path;
  out.size = area.bytes;
  out.used = area.used;
  out.priority = area.priority;
  auto id = zram_number(area.path);
  out.zram = id.has_value();
  auto usage = id ? zram_usage(*id) : fail(Code::unsupported, "");
  if (!usage) return out;
  out.stored = usage->stored;
  out.compressed = usage->compressed;
  out.ram = usage->ram;
  out.written = usage->written_back;
  return out;
}

}  // namespace

bool is_vswap(const Config& config) { return bounded(config.limit("PHYSPAGES")); }

std::optional<Limit> effective_limit(const Config& config, std::string_view key) {
  auto own = config.limit(key);
  if (own) return own;
  bool derived = key == "LOCKEDPAGES" || key == "OOMGUARPAGES" || key == "VMGUARPAGES" || key == "PRIVVMPAGES";
  auto ram = derived ? config.limit("PHYSPAGES") : std::nullopt;
  if (!bounded(ram)) return std::nullopt;
  auto swap = config.limit("SWAPPAGES");
  std::uint64_t both = bounded(swap) ? add(ram->limit, swap->limit) : ram->limit;
  if (key == "LOCKEDPAGES") return Limit{ram->limit, ram->limit};
  if (key == "OOMGUARPAGES") return Limit{ram->limit, Limit::kUnlimited};
  if (key == "VMGUARPAGES") return Limit{both, Limit::kUnlimited};
  auto most = privvm_limit(config).value_or(Limit::kUnlimited);
  return Limit{most, most};
}

Result<HostMemoryState> read_host_memory() {
  auto memory = VZ_TRY(host_memory());
  HostMemoryState out;
  out.ram = memory.ram;
  out.ram_available = memory.available;
  out.swap = memory.swap;
  out.swap_free = memory.swap_free;
  for (const SwapArea& area : VZ_TRY(swap_areas())) out.swaps.push_back(swap_device(area));
  out.pids = host_pid_limit();
  return out;
}

ContainerMemory promised_memory(Ctid id, const Config& config) {
  ContainerMemory out;
  out.id = id;
  out.name = config.get("NAME").value_or("");
  out.ram_promised = bytes_of(config.limit("PHYSPAGES"));
  out.swap_promised = bytes_of(config.limit("SWAPPAGES"));
  out.private_promised = bytes_of(effective_limit(config, "PRIVVMPAGES"));
  auto processes = config.limit("NUMPROC");
  if (processes && processes->limit != Limit::kUnlimited) out.processes_promised = processes->limit;
  return out;
}

WorstCase worst_case(const HostMemoryState& host, std::uint64_t promised) {
  WorstCase out;
  out.ratio = measured_ratio(host, &out.ratio_measured);
  std::uint64_t zram = 0, disk = 0;
  for (const auto& device : host.swaps) (device.zram ? zram : disk) += device.size;
  if (promised > host.ram) out.in_zram = into_zram(promised - host.ram, zram, host.ram, out.ratio);
  // RAM that the compressed data takes is not there for anything else.
  auto packed = static_cast<std::uint64_t>(static_cast<double>(out.in_zram) / out.ratio);
  out.in_ram = std::min(promised - out.in_zram, host.ram - std::min(packed, host.ram));
  std::uint64_t rest = promised - out.in_zram - out.in_ram;
  if (rest < kPage) {  // of rounding
    out.in_ram += rest;
    rest = 0;
  }
  out.on_disk = std::min(rest, disk);
  out.unbacked = rest - out.on_disk;
  return out;
}

MemoryReport make_memory_report(HostMemoryState host, std::vector<ContainerMemory> containers) {
  MemoryReport out;
  MemoryTotals& sum = out.totals;
  for (const auto& ct : containers) {
    ++sum.containers;
    sum.ram_used = add(sum.ram_used, ct.ram_used.value_or(0));
    sum.swap_used = add(sum.swap_used, ct.swap_used.value_or(0));
    sum.ram_promised = add(sum.ram_promised, ct.ram_promised.value_or(0));
    sum.swap_promised = add(sum.swap_promised, ct.swap_promised.value_or(0));
    if (!ct.ram_promised || !ct.swap_promised) ++sum.unlimited;
  }
  out.worst = worst_case(host, add(sum.ram_promised, sum.swap_promised));
  out.host = std::move(host);
  out.containers = std::move(containers);
  return out;
}

Result<MemoryReport> memory_report(const Host& host, bool all) {
  auto state = VZ_TRY(read_host_memory());
  auto infos = VZ_TRY(list_containers(host, all));
  std::erase_if(infos, [&](const ContainerInfo& info) { return !all && !info.status.running; });
  auto samples =
      sample_containers(host, infos, {Reading::ram_held, Reading::swap_held, Reading::privvm, Reading::numproc});
  std::vector<ContainerMemory> containers;
  for (std::size_t i = 0; i < infos.size(); ++i) {
    auto ct = promised_memory(infos[i].id, infos[i].config);
    ct.running = infos[i].status.running;
    ct.ram_used = ct.running ? samples[i].ram_held : Value(0);
    ct.swap_used = ct.running ? samples[i].swap_held : Value(0);
    ct.private_used = ct.running ? samples[i].privvm_held : Value(0);
    ct.processes = ct.running ? samples[i].numproc : Value(0);
    containers.push_back(std::move(ct));
  }
  return make_memory_report(std::move(state), std::move(containers));
}

}  // namespace vz

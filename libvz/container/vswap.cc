// SPDX-License-Identifier: LGPL-2.1-or-later
// Virtual swap of the host: one zram device of our own, the module, the BPF programs.
#include <vz/vswap.h>

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include <vz/container.h>
#include "libvz/base/text.h"
#include "libvz/container/beancounter_limits.h"
#include "libvz/container/state.h"
#include "libvz/container/vswap_device.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/bpf_loader.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hardware.h"
#include "libvz/kernel/module.h"
#include "libvz/kernel/vzdev.h"
#include "libvz/kernel/vzfs.h"

namespace vz {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kLeast = 16 * kMiB;
constexpr std::uint64_t kMost = 1ull << 46;  // 64 TiB; a swap area's offsets end somewhere above

Result<UniqueFd> lock_vswap(const Host& host) {
  VZ_TRY(make_dirs(host.paths().run, 0755));
  return lock_file(host.paths().run + "/vswap.lock");
}

// Swap that all configurations promise; one without a limit promises nothing that could be counted.
Result<std::uint64_t> promised_swap(const Host& host) {
  std::uint64_t sum = 0;
  for (Ctid id : VZ_TRY(host.containers())) {
    auto config = host.load(id);
    auto swap = config ? config->limit("SWAPPAGES") : std::nullopt;
    if (!swap || swap->limit >= kMost / kPage) continue;
    sum = std::min(sum + swap->limit * kPage, kMost);
  }
  return sum;
}

Result<std::uint64_t> wanted_size(const Host& host, const VswapOptions& options) {
  std::optional<std::uint64_t> bytes = options.bytes;
  const char* what = "--size";
  auto text = host.global().get("VSWAP_SIZE").value_or("");
  if (!bytes && !text.empty()) {
    auto configured = host.global().limit("VSWAP_SIZE");
    if (!configured)
      return fail(Error(Code::bad_config, fmt::format("VSWAP_SIZE=\"{}\" in vz.conf is not a size", text))
                      .with_hint("a number with K, M, G or T; 0 or nothing: as much as containers are promised"));
    if (configured->limit != 0) bytes = configured->limit;
    what = "VSWAP_SIZE";
  }
  if (!bytes) return vswap_size(VZ_TRY(promised_swap(host)), VZ_TRY(host_memory()).ram);
  if (*bytes >= kLeast && *bytes <= kMost) return *bytes / kPage * kPage;
  return fail(Error(Code::bad_value, fmt::format("{} {}: virtual swap must have from 16 MiB to 64 TiB", what, *bytes))
                  .with_hint("sizes take the suffixes K, M, G and T"));
}

Result<VswapDeviceSpec> device_spec(const Host& host, const VswapOptions& options) {
  VswapDeviceSpec spec;
  spec.bytes = VZ_TRY(wanted_size(host, options));
  auto chosen = [&](const std::string& option, const char* key) {
    return option.empty() ? host.global().get(key).value_or("") : option;
  };
  spec.backing = chosen(options.backing, "VSWAP_BACKING");
  spec.compressor = chosen(options.compressor, "VSWAP_COMPRESSOR");
  auto areas = VZ_TRY(swap_areas());
  spec.priority = vswap_priority(areas);
  // The kernel only says EBUSY or worse, once the device has been half set up.
  for (const auto& area : areas)
    if (!spec.backing.empty() && area.path == spec.backing)
      return fail(Error(Code::bad_value, spec.backing + " is a swap area of this host")
                      .with_hint("write-back takes the whole device: choose an unused one"));
  return spec;
}

// /proc/user_beancounters, /proc/bc and /proc/vz of this host, with what the BPF programs count.
void show_beancounters(Reporter& reporter) {
  reporter.step("vswap.beancounters");
  auto device = VzDevice::open();
  if (!device || !device->module().ub) {
    reporter.warn("Warning: no /proc/user_beancounters: " +
                  (device ? "vz.ko " + device->module().version + " is too old" : device.error().message()));
    return;
  }
  auto shown = device->hand_over_ub(VZ_BPF_PIN_DIR);
  if (shown) shown = mount_host_vzfs();
  if (!shown) reporter.warn("Warning: /proc/user_beancounters: " + shown.error().message());
}

// Shown, they would keep the module loaded.
void hide_beancounters(Reporter& reporter) {
  if (auto hidden = unmount_host_vzfs(); !hidden) reporter.warn("Warning: " + hidden.error().message());
}

// Neither is needed for swap itself: what is missing costs the exact rate, and says so.
void load_policy(Reporter& reporter) {
  reporter.step("vswap.module");
  if (auto loaded = load_module("vz"); !loaded) {
    reporter.warn("Warning: no vz.ko, so that containers are slowed down less exactly: " + loaded.error().message());
    return;
  }
  reporter.step("vswap.bpf");
  if (auto loaded = load_bpf_programs(); !loaded)
    reporter.warn("Warning: no BPF programs: " + loaded.error().message());
  show_beancounters(reporter);
}

// Containers that ran before the module did.
void enter_running(const Host& host, const CgroupHost& cgroup_host, Reporter& reporter) {
  reporter.step("vswap.containers");
  sweep_vswap(cgroup_host);
  auto ids = host.containers();
  for (Ctid id : ids ? *ids : std::vector<Ctid>()) {
    auto state = running_state(host, id);
    if (!state || !*state) continue;
    auto cgroups = Cgroups::open(cgroup_host, id);
    if (!cgroups) continue;
    Config config = Config::parse((*state)->config_snapshot, "running configuration");
    VswapSubject subject{id, config, *cgroups, boottime_ns() - age_ns((*state)->init), true};
    if (auto set = set_ub_limits(host, id, *cgroups, config); !set)
      reporter.warn(fmt::format("Warning: beancounters of container {}: {}", id.value(), set.error().message()));
    (void)enter_vswap(cgroup_host, subject, reporter);
  }
}

void report_up(const VswapDevice& device, bool was_on, std::uint64_t promised, Reporter& reporter) {
  const std::uint64_t bytes = device.zram.bytes;
  reporter.info(fmt::format("{} MiB of virtual swap {} on {} ({})", bytes / kMiB, was_on ? "are on already" : "are on",
                            device.zram.path(), device.zram.compressor));
  if (promised > bytes)
    reporter.warn(
        fmt::format("Warning: containers were promised {} MiB of swap; `vzctl vswap stop` and `start` give "
                    "the device a new size, or set VSWAP_SIZE",
                    promised / kMiB));
}

// Pages that a container has in swap come back into its RAM, or go to another area.
Result<> check_container_fits(const CgroupHost& cgroup_host, Ctid id, std::uint64_t elsewhere) {
  auto cgroups = Cgroups::open(cgroup_host, id);
  const auto* memory = cgroup_host.find(Controller::memory);
  if (!cgroups || !memory || !memory->v2) return {};
  auto number = [&](const char* file) -> std::optional<std::uint64_t> {
    auto text = cgroups->read(Controller::memory, file);
    auto value = text ? parse_u64(*text) : fail(Code::system, "unreadable");
    return value ? std::optional(*value) : std::nullopt;  // "max"
  };
  auto swapped = number("memory.swap.current"), used = number("memory.current"), limit = number("memory.max");
  if (!swapped || !used || !limit || *swapped <= elsewhere || *used + *swapped <= *limit) return {};
  return fail(Error(Code::no_resources,
                    fmt::format("virtual swap stays: container {} has {} MiB in swap and {} MiB of its RAM left",
                                id.value(), *swapped / kMiB, (*limit - std::min(*limit, *used)) / kMiB))
                  .with_hint(fmt::format("stop it, or give it more: `vzctl set {} --ram {}M --swap …`", id.value(),
                                         (*used + *swapped) / kMiB + 1)));
}

// swapoff(2) would push processes into the OOM killer rather than fail.
Result<> check_fits(const Host& host, const VswapDevice& device) {
  if (!device.area) return {};
  std::uint64_t elsewhere = 0;
  for (const auto& area : VZ_TRY(swap_areas()))
    if (area.device != device.zram.device) elsewhere += area.bytes - std::min(area.bytes, area.used);
  // What is compressed now is not, once it is out; a tenth of the host's RAM stays free.
  auto memory = VZ_TRY(host_memory());
  auto usage = VZ_TRY(zram_usage(device.zram.id));
  std::uint64_t room = memory.available + usage.ram;
  room -= std::min(room, memory.ram / 10);
  if (device.area->used > room + elsewhere)
    return fail(Error(Code::no_resources,
                      fmt::format("virtual swap stays: {} holds {} MiB, and RAM and other swap take only {} MiB",
                                  device.zram.path(), device.area->used / kMiB, (room + elsewhere) / kMiB))
                    .with_hint("stop containers first, or add other swap"));
  auto cgroup_host = VZ_TRY(CgroupHost::probe());
  for (Ctid id : VZ_TRY(host.containers())) VZ_TRY(check_container_fits(cgroup_host, id, elsewhere));
  return {};
}

void add_device(const VswapDevice& device, VswapStatus& status) {
  status.state = device.stage == VswapDevice::Stage::on ? VswapStatus::State::on : VswapStatus::State::incomplete;
  status.device = device.zram.path();
  status.bytes = device.zram.bytes;
  status.compressor = device.zram.compressor;
  status.backing = device.zram.backing;
  if (device.area) {
    status.used = device.area->used;
    status.priority = device.area->priority;
  }
  if (auto usage = zram_usage(device.zram.id)) {
    status.stored = usage->stored;
    status.compressed = usage->compressed;
    status.ram = usage->ram;
    status.written_back = usage->written_back;
  }
}

}  // namespace

const char* vswap_mechanism_name(VswapMechanism m) {
  switch (m) {
    case VswapMechanism::kernel:
      return "kernel";
    case VswapMechanism::module:
      return "module";
    case VswapMechanism::riops:
      return "riops";
    case VswapMechanism::limits:
      break;
  }
  return "limits";
}

const char* swap_kind_name(SwapKind k) {
  switch (k) {
    case SwapKind::vz:
      return "vz";
    case SwapKind::zram:
      return "zram";
    case SwapKind::zswap:
      return "zswap";
    case SwapKind::disk:
      return "disk";
    case SwapKind::none:
      break;
  }
  return "none";
}

std::uint64_t vswap_size(std::uint64_t promised, std::uint64_t host_ram) {
  // Room for containers that are made later: an unused page of the device costs 16 bytes.
  auto size = std::clamp(promised, host_ram / 2, host_ram * 2);
  return std::max(size, kLeast) / kPage * kPage;
}

Result<VswapStatus> start_vswap(const Host& host, const VswapOptions& options, Reporter& reporter) {
  auto lock = VZ_TRY(lock_vswap(host));
  auto spec = VZ_TRY(device_spec(host, options));
  auto before = VZ_TRY(find_vswap_device(host.paths().run));
  const bool was_on = before && before->stage == VswapDevice::Stage::on;
  if (!was_on) VZ_TRY(need_zram());
  auto device = VZ_TRY(bring_up_vswap(host.paths().run, spec, reporter));
  report_up(device, was_on, VZ_TRY(promised_swap(host)), reporter);
  load_policy(reporter);
  enter_running(host, VZ_TRY(CgroupHost::probe()), reporter);
  return vswap_status(host);
}

Result<> stop_vswap(const Host& host, Reporter& reporter) {
  auto lock = VZ_TRY(lock_vswap(host));
  auto device = VZ_TRY(find_vswap_device(host.paths().run));
  if (!device) {
    hide_beancounters(reporter);
    reporter.info("Virtual swap is off already");
    return remove_vswap_record(host.paths().run);
  }
  VZ_TRY(check_fits(host, *device));
  VZ_TRY(take_down_vswap(host.paths().run, *device, reporter));
  hide_beancounters(reporter);
  reporter.info("Virtual swap is off");
  return {};
}

Result<VswapStatus> vswap_status(const Host& host) {
  VswapStatus status;
  auto device = VZ_TRY(find_vswap_device(host.paths().run));
  if (device) add_device(*device, status);
  status.promised = VZ_TRY(promised_swap(host));
  status.host_swap = classify_swap(VZ_TRY(swap_areas()), device ? device->zram.device : std::string(), zswap_enabled());
  auto cgroups = VZ_TRY(CgroupHost::probe());
  auto plan = plan_vswap(Ctid(1), host.global(), probe_vswap(cgroups, nullptr));
  status.mechanism = plan.mechanism;
  status.why = plan.why;
  if (auto module = VzDevice::open()) status.module_version = module->module().version;
  status.bpf = swap_programs_attached();
  return status;
}

}  // namespace vz

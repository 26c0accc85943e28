// SPDX-License-Identifier: LGPL-2.1-or-later
// The table of host features: what each one is for, and what to do about a missing one.
#include "libvz/container/features.h"

#include <algorithm>
#include <array>
#include <map>

#include <fcntl.h>

#include <fmt/format.h>

#include <vz/beancounters.h>
#include <vz/host.h>

#include "libvz/base/text.h"
#include "libvz/container/dir_quota.h"
#include "libvz/container/vswap_device.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/bpf_loader.h"
#include "libvz/kernel/features.h"
#include "libvz/kernel/file.h"

namespace vz {

bool Features::has(std::string_view name) const {
  return std::any_of(all_.begin(), all_.end(), [&](const Feature& f) { return f.present && f.name == name; });
}

namespace {

constexpr unsigned kCapSysResource = 24;

struct Adder {
  Features& out;
  void operator()(const char* name, Finding f, const char* consequence, std::string remedy) {
    out.add({name, f.present, std::move(f.detail), consequence, std::move(remedy)});
  }
};

void add_kernel(Adder add) {
  add("kernel.userns", find_userns(), "containers cannot run unprivileged, so they do not start",
      "sysctl -w user.max_user_namespaces=65536; a kernel with CONFIG_USER_NS");
  add("kernel.pidfd", find_pidfd(), "containers do not start", "a kernel of 5.3 or later");
  add("kernel.clone_into_cgroup", find_clone_into_cgroup(), "containers do not start", "a kernel of 5.7 or later");
  add("mount.new_api", find_mount_api(), "containers cannot be mounted", "a kernel of 5.2 or later");
  add("mount.idmapped", find_idmapped_mounts(), "private areas cannot be shown with the container's ids",
      "a kernel of 5.12 or later");
  add("seccomp", find_seccomp(), "system calls are not filtered; containers do not start",
      "a kernel with SECCOMP_FILTER");
  add("cap.sys_resource", find_capability(kCapSysResource),
      "hard resource limits and the disk space reserved for root are out of reach; vz does without",
      "run vz as a root that has all capabilities");
}

void add_cgroups(Adder add, const CgroupHost& host) {
  const char* enable = "a kernel with this controller, and no cgroup_disable= on its command line";
  add("cgroup.v2", find_cgroup2(host), "no device rules, no atomic kill, no start into a cgroup",
      "mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1");
  add("cgroup.memory", find_controller(host, Controller::memory), "--ram and --swap cannot be enforced",
      "boot with cgroup_enable=memory; a kernel with CONFIG_MEMCG");
  add("cgroup.swap", find_swap_accounting(host), "--swap cannot be enforced", "boot with swapaccount=1");
  add("cgroup.cpu", find_controller(host, Controller::cpu), "--cpuunits, --cpulimit and --cpus cannot be enforced",
      enable);
  add("cgroup.cpuset", find_controller(host, Controller::cpuset), "--cpumask and --nodemask cannot be enforced",
      enable);
  add("cgroup.io", find_controller(host, Controller::io), "--iolimit, --iopslimit and --ioprio cannot be enforced",
      enable);
  add("cgroup.io.weight", find_io_weight(host), "--ioprio cannot be enforced",
      "modprobe bfq, or a kernel with CONFIG_BLK_CGROUP_IOCOST");
  add("cgroup.pids", find_controller(host, Controller::pids), "--numproc cannot be enforced", enable);
  add("cgroup.freezer", find_controller(host, Controller::freezer), "containers cannot be frozen or checkpointed",
      "mount cgroup2, or a kernel with CONFIG_CGROUP_FREEZER");
  add("cgroup.kill", find_cgroup_kill(host), "stopping a fork bomb takes longer",
      "cgroup2 and a kernel of 5.14 or later");
}

void add_bpf(Adder add) {
  add("bpf.cgroup_device", find_bpf_cgroup_device(),
      "access to device nodes cannot be restricted; --devices is refused",
      "a kernel with CONFIG_CGROUP_BPF; root with CAP_BPF");
  add("bpf.tc", find_bpf_tc(), "a container could use addresses that are not its own",
      "a kernel with CONFIG_NET_CLS_BPF");
  add("bpf.lsm", find_bpf_tracing(), "no beancounters in the kernel, no protected project ids",
      "boot with lsm=…,bpf; a kernel with CONFIG_BPF_LSM and CONFIG_DEBUG_INFO_BTF");
}

void add_project_quota(Adder add, const std::string& areas) {
  const auto dir = existing_dir(areas);
  const auto support = quota_support(dir);
  add("fs.project_quota", {support.enforced, support.enforced ? "enforced at " + dir : support.why},
      "the dir layout refuses --diskspace; the image layout does not need it",
      support.remedy.empty() ? "put the private areas on ext4 or XFS with project quota" : support.remedy);
}

void add_storage(Adder add, const std::string& areas) {
  add("loop", find_loop(), "no image layout: --diskspace cannot be enforced", "modprobe loop");
  add("fs.ext4", find_filesystem("ext4"), "no image layout: --diskspace cannot be enforced", "modprobe ext4");
  add_project_quota(add, areas);
  add("quota.native", find_native_quota(), "quota tools inside work with vzd only, which answers for the kernel",
      "a kernel with kmod/patches, and sysctl -w fs.quota.userns_admin=1; for containers of the dir layout");
}

void add_devices_and_network(Adder add) {
  add("net.veth", find_link_type("veth"), "containers have no network", "modprobe veth");
  add("net.traffic", find_traffic(), "traffic of containers is not counted", "a kernel of 6.6 or later with tcx");
  add("net.bridge", find_link_type("bridge"), "--netif_add has no bridge to join", "modprobe bridge");
  add("net.ipv4_forward", find_ipv4_forwarding(), "containers reach this host, but nothing behind it",
      "sysctl -w net.ipv4.ip_forward=1, and keep it in /etc/sysctl.d");
  add("tun", find_device("/dev/net/tun"), "--features tun:on is refused", "modprobe tun");
  add("fuse", find_device("/dev/fuse"), "--features fuse:on is refused", "modprobe fuse");
}

void add_services(Adder add) {
  add("lxcfs", find_lxcfs(), "without vz.module, too, free and /proc/meminfo inside show the host's memory",
      "vzctl vswap start with vz-dkms installed, or install lxcfs and start it");
  add("swap", find_swap(), "containers cannot swap: their OOM kill comes at --ram",
      "vzctl vswap start, or swapon a device");
  add("systemd", find_systemd(), "nothing is missing; on a systemd host without libsystemd containers do not start",
      "install libsystemd0 where systemd runs");
  add("criu", find_criu(), "no checkpoint, no live migration",
      "scripts/setup --only run, or install criu 4.2 or newer");
}

// What of the swap is compressed RAM, and who made it.
Finding find_virtual_swap(const HostPaths& paths) {
  auto areas = swap_areas();
  if (!areas) return {false, areas.error().message()};
  auto own = find_vswap_device(paths.run);
  const bool have_own = own && *own;
  auto kind = classify_swap(*areas, have_own ? (*own)->zram.device : std::string(), zswap_enabled());
  switch (kind) {
    case SwapKind::vz:
      return {true, (*own)->zram.path() + ", zram made by vzctl vswap"};
    case SwapKind::zram:
      return {true, "zram that vz did not make"};
    case SwapKind::zswap:
      return {true, "zswap in front of a disk"};
    case SwapKind::disk:
      return {false, "on disk"};
    case SwapKind::none:
      break;
  }
  return {false, zram_available() ? "no swap; zram can be had" : "no swap; zram is not loaded, or not in this kernel"};
}

Finding find_mechanism(const CgroupHost& cgroups) {
  auto plan = plan_vswap(Ctid(1), Config(), probe_vswap(cgroups, nullptr));
  return {plan.mechanism != VswapMechanism::limits,
          std::string(vswap_mechanism_name(plan.mechanism)) + ": " + plan.why};
}

void add_vswap(Adder add, const HostPaths& paths, const CgroupHost& cgroups) {
  add("vswap.device", find_virtual_swap(paths), "what a container uses beyond --ram goes to disk, or nowhere",
      "vzctl vswap start; systemctl enable vz-vswap.service");
  add("vswap.mechanism", find_mechanism(cgroups), "--vswap-rate is not kept: swapping runs at full speed",
      "vzctl vswap start with vz-dkms installed, a patched kernel, or cgroup v2 with the io controller");
  add("vz.module", find_vz_module(), "no exact swap delay, no own /proc/meminfo inside", "install vz-dkms");
  add("bpf.vswap", find_bpf_program("vswap_in"), "swapping is slowed down less exactly, or not at all",
      "vzctl vswap start with vz-dkms installed; it says what the kernel lacks");
  add("bpf.sysinfo", find_bpf_program("sysinfo_native"), "sysinfo(2) inside shows the host's memory",
      "vzctl vswap start; not with kernel lockdown");
  add("bpf.privvm", find_bpf_program("privvm_limit"), "--vm_overcommit and --privvmpages are refused",
      "vzctl vswap start");
}

// The kernel's own words for the program that is missing.
std::string why_uncounted(const UbResource& r, const Result<std::map<std::string, std::string>>& reasons) {
  if (!reasons) return reasons.error().message();
  for (const auto& program : split(r.program ? r.program : r.counter, '|'))
    if (auto known = reasons->find(program); known != reasons->end() && !known->second.empty())
      return program + ": " + known->second;
  return "not loaded";
}

// "ub.numfile"; as long-lived as the table.
const char* ub_feature_name(Ub row) {
  static const auto kNames = [] {
    std::array<std::string, kUbRows> names;
    for (const auto& r : ub_resources()) names[static_cast<std::size_t>(r.id)] = std::string("ub.") + r.name;
    return names;
  }();
  return kNames[static_cast<std::size_t>(row)].c_str();
}

void add_beancounters(Adder add) {
  auto abilities = ub_abilities();
  auto is_ours = [](const UbResource& r) { return r.limiter == UbLimiter::program && r.id != Ub::privvmpages; };
  auto missing = [&](const UbResource& r) { return !abilities[static_cast<std::size_t>(r.id)].limited; };
  const bool any = std::any_of(ub_resources().begin(), ub_resources().end(),
                               [&](const UbResource& r) { return is_ours(r) && missing(r); });
  auto reasons = any ? bpf_program_reasons() : fail(Code::unsupported, "not asked for");
  for (const auto& r : ub_resources()) {
    if (!is_ours(r)) continue;
    add(ub_feature_name(r.id),
        missing(r) ? Finding{false, why_uncounted(r, reasons)} : Finding{true, "counted and limited"},
        "its limit is refused; what is held is added up when somebody asks, without maxheld and failcnt",
        "vzctl vswap start; a kernel with the bpf LSM, fentry and type information, as Debian 13 has");
  }
}

}  // namespace

Features probe_features(const HostPaths& paths, const CgroupHost& cgroups, const std::string& areas) {
  Features out;
  Adder add{out};
  add_kernel(add);
  add_cgroups(add, cgroups);
  add_bpf(add);
  add_storage(add, areas);
  add_devices_and_network(add);
  add_services(add);
  add_vswap(add, paths, cgroups);
  add_beancounters(add);
  return out;
}

Result<> fix_features(const Host& host, Reporter& reporter) {
  const auto dir = existing_dir(host.private_areas());
  const auto support = quota_support(dir);
  if (support.enforced) return {};
  if (!support.online)
    return fail(Error(Code::unsupported, "fs.project_quota: " + support.why).with_hint(support.remedy));
  UniqueFd fd = VZ_TRY(open_file(dir, O_RDONLY | O_DIRECTORY));
  reporter.step("fix.project_quota");
  VZ_TRY(enforce_quota(fd.get(), QuotaType::project));
  reporter.info(fmt::format("Project quota is enforced at {} now; for the next boot put prjquota in /etc/fstab", dir));
  return {};
}

}  // namespace vz

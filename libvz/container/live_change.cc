// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/live_change.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/beancounter_limits.h"
#include "libvz/container/dir_quota.h"
#include "libvz/container/guest.h"
#include "libvz/container/guest_settings.h"
#include "libvz/container/limits.h"
#include "libvz/container/network.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/traffic.h"
#include "libvz/container/vswap_policy.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/clock.h"
#include "libvz/kernel/device_node.h"
#include "libvz/kernel/devices.h"
#include "libvz/kernel/namespace.h"
#include "libvz/kernel/uts.h"

namespace vz {

std::vector<std::string> changed_keys(const Config& from, const Config& to) {
  std::vector<std::string> out;
  for (const auto& p : params()) {
    if (!p.key || std::find(out.begin(), out.end(), p.key) != out.end()) continue;
    if (from.get(p.key) != to.get(p.key)) out.emplace_back(p.key);
  }
  return out;
}

std::vector<std::string> options_of(const std::vector<std::string>& keys, Applies applies) {
  std::vector<std::string> out;
  for (const auto& key : keys) {
    const Param* p = find_param_by_key(key);
    if (p && p->applies == applies) out.emplace_back(p->option ? p->option : p->key);
  }
  return out;
}

namespace {

// Handles to the running container, shared by the steps that use them.
struct Live {
  Context& ct;
  State state;
  UniqueFd pidfd;
  UniqueFd netns;
  CgroupHost cgroup_host;
  Cgroups cgroups;
};
using LivePtr = std::shared_ptr<Live>;

bool any_changed(const std::vector<std::string>& keys, std::initializer_list<const char*> wanted) {
  return std::any_of(wanted.begin(), wanted.end(),
                     [&](const char* k) { return std::find(keys.begin(), keys.end(), k) != keys.end(); });
}

Result<LivePtr> open_live(Context& ct, const State& state) {
  auto pidfd = VZ_TRY(open_process(state.init));
  auto netns = VZ_TRY(open_namespace(state.init.pid, "net"));
  auto host = VZ_TRY(CgroupHost::probe());
  auto cgroups = VZ_TRY(Cgroups::open(host, ct.id));
  return std::make_shared<Live>(
      Live{ct, state, std::move(pidfd), std::move(netns), std::move(host), std::move(cgroups)});
}

LinkHook count_links(const LivePtr& live) {
  return [live](const std::string& link) { count_traffic(live->ct.host, live->ct.id, link, live->ct.reporter); };
}

Result<> plan_limits_step(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  auto facts = VZ_TRY(read_limit_facts(live->cgroup_host, live->ct.private_path));
  auto forward = VZ_TRY(plan_limit_change(from, to, facts));
  auto back = VZ_TRY(plan_limit_change(to, from, facts));
  if (!forward.not_enforceable.empty()) return fail(forward.not_enforceable.front());
  for (const auto& w : forward.warnings) live->ct.reporter.warn("Warning: " + w);
  if (forward.writes.empty()) return {};
  auto apply = [live, writes = forward.writes]() -> Result<> {
    std::vector<std::string> warnings;
    VZ_TRY(live->cgroups.apply(writes, &warnings));
    for (const auto& w : warnings) live->ct.reporter.warn("Warning: " + w);
    live->ct.reporter.info("UB limits were set successfully");
    return {};
  };
  steps->push_back({"limits", apply, [live, writes = back.writes] { (void)live->cgroups.apply(writes, nullptr); }});
  return {};
}

Result<> switch_vswap(const LivePtr& live, const Config& config) {
  VswapSubject subject{live->ct.id, config, live->cgroups, boottime_ns() - age_ns(live->state.init), true};
  VZ_TRY(change_vswap(live->cgroup_host, subject));
  return {};
}

void plan_vswap_step(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  auto old_config = std::make_shared<Config>(from), new_config = std::make_shared<Config>(to);
  steps->push_back(
      {"vswap", [=] { return switch_vswap(live, *new_config); }, [=] { (void)switch_vswap(live, *old_config); }});
}

void plan_beancounter_step(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  auto old_config = std::make_shared<Config>(from), new_config = std::make_shared<Config>(to);
  auto set = [live](const Config& config) { return set_ub_limits(live->ct.host, live->ct.id, live->cgroups, config); };
  steps->push_back({"beancounters", [=] { return set(*new_config); }, [=] { (void)set(*old_config); }});
}

bool contains(const std::vector<IpAddress>& list, const IpAddress& a) {
  return std::any_of(list.begin(), list.end(), [&](const IpAddress& b) { return b == a; });
}

Result<> plan_ip_steps(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  auto old_list = VZ_TRY(parse_ip_list(from.get("IP_ADDRESS").value_or("")));
  auto new_list = VZ_TRY(parse_ip_list(to.get("IP_ADDRESS").value_or("")));
  auto config = std::make_shared<Config>(to);
  for (const auto& a : old_list) {
    if (contains(new_list, a)) continue;
    steps->push_back({"ipdel",
                      [=] {
                        live->ct.reporter.info("Deleting IP address(es): " + a.str());
                        return del_ip(*config, live->ct.id, live->netns, new_list, a);
                      },
                      [=] { (void)add_ip(*config, live->ct.id, live->netns, old_list, a, count_links(live)); }});
  }
  for (const auto& a : new_list) {
    if (contains(old_list, a)) continue;
    steps->push_back({"ipadd",
                      [=] {
                        live->ct.reporter.info("Adding IP address(es): " + a.str());
                        return add_ip(*config, live->ct.id, live->netns, new_list, a, count_links(live),
                                      &live->ct.reporter);
                      },
                      [=] { (void)del_ip(*config, live->ct.id, live->netns, old_list, a); }});
  }
  return {};
}

Result<> plan_netif_steps(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  auto old_list = VZ_TRY(parse_netif(from.get("NETIF").value_or("")));
  auto new_list = VZ_TRY(parse_netif(to.get("NETIF").value_or("")));
  auto missing_in = [](const std::vector<Netif>& list, const Netif& n) {
    return std::find(list.begin(), list.end(), n) == list.end();
  };
  for (const auto& n : old_list)
    if (missing_in(new_list, n))
      steps->push_back({"netif_del", [=] { return del_netif(live->ct.id, live->netns, n); },
                        [=] { (void)add_netif(live->ct.id, live->netns, n, count_links(live)); }});
  for (const auto& n : new_list)
    if (missing_in(old_list, n))
      steps->push_back({"netif_add", [=] { return add_netif(live->ct.id, live->netns, n, count_links(live)); },
                        [=] { (void)del_netif(live->ct.id, live->netns, n); }});
  return {};
}

Result<> write_guest(const LivePtr& live, const Config& config) {
  auto settings = guest_settings(config);
  auto root = VZ_TRY(mount_private(live->ct.private_path, live->state.idmap, config.get("MOUNT_OPTS").value_or(""),
                                   false, false, live->ct.reporter));
  if (settings.hostname) VZ_TRY(set_hostname_of(live->pidfd, *settings.hostname));
  return write_guest_files(root.mount, live->state.idmap, settings);
}

void plan_guest_step(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  auto old_config = std::make_shared<Config>(from), new_config = std::make_shared<Config>(to);
  steps->push_back(
      {"guest", [=] { return write_guest(live, *new_config); }, [=] { (void)write_guest(live, *old_config); }});
}

bool has_node(const std::vector<DeviceNode>& list, const DeviceNode& n) {
  return std::any_of(list.begin(), list.end(), [&](const DeviceNode& m) {
    return m.name == n.name && m.type == n.type && m.major == n.major && m.minor == n.minor;
  });
}

Result<> switch_devices(const LivePtr& live, const Access& from, const Access& to) {
  if (live->cgroups.unified_ct_fd() >= 0) VZ_TRY(attach_device_rules(live->cgroups.unified_ct_fd(), to.rules));
  for (const auto& n : from.nodes)
    if (!has_node(to.nodes, n)) VZ_TRY(detach_device_node(live->pidfd, n.name));
  for (const auto& n : to.nodes)
    if (!has_node(from.nodes, n)) VZ_TRY(attach_device_node(live->pidfd, live->state.idmap, n));
  return {};
}

Result<> plan_device_step(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  // FEATURES needs a restart: only DEVICES and DEVNODES count here.
  Config adjusted = to;
  adjusted.set("FEATURES", from.get("FEATURES").value_or(""));
  adjusted.set("CAPABILITY", from.get("CAPABILITY").value_or(""));
  auto old_access = std::make_shared<Access>(VZ_TRY(plan_access(from)));
  auto new_access = std::make_shared<Access>(VZ_TRY(plan_access(adjusted)));
  steps->push_back({"devices", [=] { return switch_devices(live, *old_access, *new_access); },
                    [=] { (void)switch_devices(live, *new_access, *old_access); }});
  return {};
}

// `from` and `to` are merged configurations: a running container's snapshot is one.
void plan_dir_step(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  auto put = [live](const DiskLimits& disk) -> Result<> {
    VZ_TRY(change_dir_limits(live->ct.private_path, disk, live->ct.reporter));
    return agree_on_grace(live->ct.host, live->ct.private_path, disk);
  };
  const auto before = disk_limits(from), after = disk_limits(to);
  if (before == after) return;
  steps->push_back({"diskquota", [=] { return put(after); }, [=] { (void)put(before); }});
}

Result<> plan_disk_step(const LivePtr& live, const Config& from, const Config& to, std::vector<LiveStep>* steps) {
  if (VZ_TRY(private_layout(live->ct.private_path)) == Layout::dir) {
    plan_dir_step(live, from, to, steps);
    return {};
  }
  if (from.limit("DISKSPACE") == to.limit("DISKSPACE")) return {};
  auto space = to.limit("DISKSPACE");
  if (!space || space->limit == Limit::kUnlimited) return {};
  auto bytes = space->limit * 1024;
  // A grown file system is not shrunk again: last in the list, so that nothing after it can fail.
  steps->push_back({"diskspace",
                    [=]() -> Result<> {
                      return resize_private(live->ct.private_path, live->state.root_device, bytes, live->ct.reporter);
                    },
                    [] {}});
  return {};
}

}  // namespace

Result<std::vector<LiveStep>> plan_live_steps(Context& ct, const State& state, const Config& from, const Config& to) {
  std::vector<LiveStep> steps;
  auto keys = changed_keys(from, to);
  auto live = VZ_TRY(open_live(ct, state));
  VZ_TRY(plan_limits_step(live, from, to, &steps));
  if (any_changed(keys, {"VSWAP_RATE", "VM_OVERCOMMIT", "PRIVVMPAGES", "PHYSPAGES", "SWAPPAGES", "CPUS", "CPULIMIT",
                         "NAME", "IP_ADDRESS"}))
    plan_vswap_step(live, from, to, &steps);
  if (ub_limits(from) != ub_limits(to)) plan_beancounter_step(live, from, to, &steps);
  if (any_changed(keys, {"IP_ADDRESS"})) VZ_TRY(plan_ip_steps(live, from, to, &steps));
  if (any_changed(keys, {"NETIF"})) VZ_TRY(plan_netif_steps(live, from, to, &steps));
  if (any_changed(keys, {"HOSTNAME", "NAMESERVER", "SEARCHDOMAIN"})) plan_guest_step(live, from, to, &steps);
  if (any_changed(keys, {"DEVICES", "DEVNODES"})) VZ_TRY(plan_device_step(live, from, to, &steps));
  if (any_changed(keys, {"DISKSPACE", "DISKINODES", "QUOTATIME"})) VZ_TRY(plan_disk_step(live, from, to, &steps));
  return steps;
}

Result<std::vector<LiveStep>> plan_limit_steps(Context& ct, const State& state, const Config& config) {
  std::vector<LiveStep> steps;
  auto live = VZ_TRY(open_live(ct, state));
  auto facts = VZ_TRY(read_limit_facts(live->cgroup_host, ct.private_path));
  auto plan = VZ_TRY(plan_limits(config, facts));
  steps.push_back({"limits", [live, writes = plan.writes] { return live->cgroups.apply(writes, nullptr); }, [] {}});
  plan_vswap_step(live, config, config, &steps);
  plan_beancounter_step(live, config, config, &steps);
  return steps;
}

Result<> apply_live_steps(std::vector<LiveStep>& steps, Reporter& reporter) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    reporter.step("set." + steps[i].name);
    auto done = steps[i].apply();
    if (done) continue;
    while (i-- > 0) steps[i].undo();
    return done;
  }
  return {};
}

}  // namespace vz

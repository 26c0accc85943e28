// SPDX-License-Identifier: LGPL-2.1-or-later
// From CAPABILITY, FEATURES, DEVICES and DEVNODES to what the kernel is told.
#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/context.h"
#include "libvz/container/mount_options.h"
#include "libvz/container/owner_dir.h"
#include "libvz/container/quota_scope.h"
#include "libvz/container/value.h"
#include "libvz/kernel/capabilities.h"
#include "libvz/kernel/device_node.h"
#include "libvz/kernel/devices.h"

namespace vz {

bool feature_on(const Config& config, const std::string& name, bool otherwise) {
  bool on = otherwise;
  for (const auto& word : config.words("FEATURES")) {
    if (word == name + ":on") on = true;
    if (word == name + ":off") on = false;
  }
  return on;
}

namespace {

DeviceRule rule_of(const DeviceEntry& entry) {
  DeviceRule rule;
  rule.type = entry.type;
  rule.major = entry.major;
  rule.minor = entry.minor ? static_cast<std::int64_t>(*entry.minor) : -1;
  rule.read = entry.read;
  rule.write = entry.write;
  return rule;
}

Result<> add_devnode(const DevnodeEntry& entry, Access* access) {
  if (!entry.read && !entry.write) return {};  // NAME:none
  DeviceNode node = VZ_TRY(read_device_node(entry.name));
  node.mode = 0660;
  access->rules.push_back(DeviceRule{node.type, node.major, node.minor, entry.read, entry.write, false});
  access->nodes.push_back(std::move(node));
  return {};
}

void add_feature_device(const char* name, unsigned major, unsigned minor, Access* access) {
  access->nodes.push_back(DeviceNode{name, 'c', major, minor, 0666});
  access->rules.push_back(DeviceRule{'c', major, minor, true, true, false});
}

}  // namespace

Result<Access> plan_access(const Config& config) {
  Access access;
  access.sandbox.nesting = feature_on(config, "nesting");
  if (wants_user_quota(config)) access.sandbox.quota = QuotaCalls::asked;
  access.sandbox.capabilities =
      VZ_TRY(apply_capability_changes(default_capabilities(), config.get("CAPABILITY").value_or("")));
  access.nodes = {{"null", 'c', 1, 3, 0666},   {"zero", 'c', 1, 5, 0666},    {"full", 'c', 1, 7, 0666},
                  {"random", 'c', 1, 8, 0666}, {"urandom", 'c', 1, 9, 0666}, {"tty", 'c', 5, 0, 0666}};
  access.rules = default_device_rules();
  if (feature_on(config, "tun")) add_feature_device("net/tun", 10, 200, &access);
  if (feature_on(config, "fuse")) add_feature_device("fuse", 10, 229, &access);
  auto nodes = VZ_TRY(parse_devnode_list(config.get("DEVNODES").value_or("")));
  for (const auto& entry : nodes) VZ_TRY(add_devnode(entry, &access));
  auto rules = VZ_TRY(parse_device_list(config.get("DEVICES").value_or("")));
  for (const auto& entry : rules) access.rules.push_back(rule_of(entry));
  return access;
}

Result<> check_settings(const Config& merged) {
  auto ram = merged.limit("PHYSPAGES");
  if (ram && ram->limit != Limit::kUnlimited && !merged.limit("SWAPPAGES"))
    return fail(Error(Code::not_enough_ubc, "Error: required UB parameter (swap) not set")
                    .with_hint("--ram and --swap belong together; --swap 0 means none"));
  auto layout = parse_layout(merged.get("VE_LAYOUT").value_or("image"));
  VZ_TRY(parse_mount_opts(merged.get("MOUNT_OPTS").value_or(""), layout ? *layout : Layout::image));
  return check_owner_backups(merged);
}

std::vector<std::string> not_enforced_options(const Config& config) {
  std::vector<std::string> out;
  for (const auto& p : params()) {
    if (p.applies != Applies::not_enforced || !p.key || !p.option || !config.get(p.key)) continue;
    std::string option = p.option;
    if (std::find(out.begin(), out.end(), option) == out.end()) out.push_back(option);
  }
  return out;
}

}  // namespace vz

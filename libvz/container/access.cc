// SPDX-License-Identifier: LGPL-2.1-or-later
// From CAPABILITY, FEATURES, DEVICES and DEVNODES to what the kernel is told.
#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/context.h"
#include "libvz/kernel/capabilities.h"
#include "libvz/kernel/device_node.h"
#include "libvz/kernel/devices.h"

namespace vz {

bool feature_on(const Config& config, const std::string& name) {
  bool on = false;
  for (const auto& word : config.words("FEATURES")) {
    if (word == name + ":on") on = true;
    if (word == name + ":off") on = false;
  }
  return on;
}

namespace {

// "TYPE:MAJ:MIN:MODE" with "*" or a missing part for any; "all" stands for every device.
Result<DeviceRule> parse_rule(const std::string& text) {
  auto part = split(text, ':');
  auto bad = [&](const char* why) { return fail(Code::devices, fmt::format("--devices {}: {}", text, why)); };
  if (part.size() < 2) return bad("expected b|c:MAJOR:MINOR:[r][w][q] or all:MODE");
  DeviceRule rule;
  if (part[0] == "all") {
    rule.type = 'a';
  } else {
    if (part.size() != 4 || (part[0] != "b" && part[0] != "c")) return bad("expected b|c:MAJOR:MINOR:[r][w][q]");
    rule.type = part[0][0];
    rule.major = static_cast<std::int64_t>(VZ_TRY(parse_u64(part[1])));
    if (part[2] != "all" && part[2] != "*") rule.minor = static_cast<std::int64_t>(VZ_TRY(parse_u64(part[2])));
  }
  const auto& mode = part.back();
  rule.read = mode.find('r') != std::string::npos;
  rule.write = mode.find('w') != std::string::npos;
  return rule;
}

Result<> add_devnode(const std::string& word, Access* access) {
  auto at = word.rfind(':');
  if (at == std::string::npos || at == 0)
    return fail(Code::devices, "--devnodes " + word + ": expected NAME:[r][w][q]");
  auto name = word.substr(0, at), mode = word.substr(at + 1);
  DeviceNode node = VZ_TRY(read_device_node(name));
  node.mode = 0660;
  DeviceRule rule{
      node.type, node.major, node.minor, mode.find('r') != std::string::npos, mode.find('w') != std::string::npos,
      false};
  access->nodes.push_back(node);
  access->rules.push_back(rule);
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
  access.sandbox.capabilities =
      VZ_TRY(apply_capability_changes(default_capabilities(), config.get("CAPABILITY").value_or("")));
  access.nodes = {{"null", 'c', 1, 3, 0666},   {"zero", 'c', 1, 5, 0666},    {"full", 'c', 1, 7, 0666},
                  {"random", 'c', 1, 8, 0666}, {"urandom", 'c', 1, 9, 0666}, {"tty", 'c', 5, 0, 0666}};
  access.rules = default_device_rules();
  if (feature_on(config, "tun")) add_feature_device("net/tun", 10, 200, &access);
  if (feature_on(config, "fuse")) add_feature_device("fuse", 10, 229, &access);
  for (const auto& word : config.words("DEVNODES"))
    if (word != "none") VZ_TRY(add_devnode(word, &access));
  for (const auto& word : config.words("DEVICES"))
    if (word != "none") access.rules.push_back(VZ_TRY(parse_rule(word)));
  return access;
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

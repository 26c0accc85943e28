// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/settings.h"

#include <algorithm>
#include <array>
#include <iostream>
#include <set>

#include <fmt/format.h>

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;
using vz::Kind;
using vz::Param;

// Changes, not values: they are handed over as they are.
constexpr std::string_view kSpecial[] = {"--ipadd",      "--ipdel",  "--netif_add", "--netif_del",
                                         "--userpasswd", "--ifname", "--mac",       "--host_ifname",
                                         "--host_mac",   "--bridge", "--mac_filter"};

// Old spellings.
struct Alias {
  const char* name;
  const char* names;
};
constexpr Alias kAliases[] = {
    {"--ipadd", "--ip,--ipadd"},
    {"--layout", "--ve_layout,--velayout,--layout"},
    {"--offline-resize", "--offline,--offline-resize"},
};

const char* names_of(const char* option) {
  for (const Alias& alias : kAliases)
    if (std::string_view(alias.name) == option) return alias.names;
  return option;
}

bool is_special(std::string_view name) {
  return std::find(std::begin(kSpecial), std::end(kSpecial), name) != std::end(kSpecial);
}

Values values_of(const Param& param) {
  std::string_view option = param.option;
  if (option == "--ostemplate") return Values::ostemplate;
  if (option == "--private" || option == "--root") return Values::directory;
  return param.kind == Kind::yes_no ? Values::yes_no : Values::none;
}

bool used_by(const Param& param, Settings use) {
  if (!param.option) return false;
  if (use == Settings::set) return param.applies != vz::Applies::create;
  // Devices and passwords need a container that is there; addresses are text in its file.
  return param.key && (!is_special(param.option) || std::string_view(param.option) == "--ipadd");
}

// What joins repeated options of a list; 0: the last one wins.
char joiner(Kind kind) {
  switch (kind) {
    case Kind::list:
    case Kind::device_list:
    case Kind::devnode_list:
      return ' ';
    case Kind::on_off_list:
      return ',';
    case Kind::netif_list:
      return ';';
    default:
      return 0;
  }
}

std::string joined(const std::vector<std::string>& values, Kind kind) {
  char sep = joiner(kind);
  if (!sep) return values.back();
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : std::string(1, sep)) + value;
  return out;
}

vz::Result<std::string> password_from(std::string value) {
  if (value == "-") std::getline(std::cin, value);
  size_t colon = value.find(':');
  bool control = std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20; });
  if (colon == 0 || colon == value.npos || control)
    return fail(
        vz::Error(Code::bad_value, "Bad value for --userpasswd: not USER:PASSWORD")
            .with_hint("for example: --userpasswd root:secret, or --userpasswd - with the text on standard input"));
  return value;
}

}  // namespace

Option setting_option(const Param& param) {
  return {names_of(param.option), param.metavar ? param.metavar : "VALUE", param.help, values_of(param)};
}

std::vector<std::string_view> setting_groups(Settings use) {
  std::vector<std::string_view> out;
  if (use == Settings::none) return out;
  for (const Param& param : vz::params())
    if (used_by(param, use) && std::find(out.begin(), out.end(), param.group) == out.end()) out.push_back(param.group);
  return out;
}

std::vector<Option> setting_options_of(Settings use, std::string_view group) {
  std::vector<Option> out;
  for (const Param& param : vz::params())
    if (used_by(param, use) && group == param.group) out.push_back(setting_option(param));
  return out;
}

std::vector<Option> setting_options(Settings use) {
  std::vector<Option> out;
  for (std::string_view group : setting_groups(use))
    for (const Option& option : setting_options_of(use, group)) out.push_back(option);
  return out;
}

vz::Result<vz::Config> settings_from(const Options& options) {
  vz::Config out;
  std::set<std::string> done;
  for (const auto& given : options.given) {
    const Param* param = vz::find_param_by_option(given.name);
    if (!param || is_special(given.name) || !done.insert(given.name).second) continue;
    if (!param->key)
      return fail(vz::Error(Code::not_enforced, fmt::format("{} is not available yet", given.name))
                      .with_hint("leave it out; nothing was changed"));
    out.set(param->key, VZ_TRY(vz::param_from_option(*param, joined(options.all(given.name), param->kind))));
  }
  return out;
}

vz::Result<> special_settings_from(const Options& options, vz::SetOptions& out) {
  for (const auto& given : options.given) {
    const Param* param = is_special(given.name) ? vz::find_param_by_option(given.name) : nullptr;
    if (!param || given.name == "--userpasswd") continue;
    bool everything = given.value == "all" && (given.name == "--ipdel" || given.name == "--netif_del");
    if (!everything) (void)VZ_TRY(vz::param_from_option(*param, given.value));
  }
  out.ip_add = options.all("--ipadd");
  out.ip_del = options.all("--ipdel");
  out.netif_add = options.all("--netif_add");
  out.netif_del = options.all("--netif_del");
  if (const std::string* value = options.last("--userpasswd")) out.userpasswd = VZ_TRY(password_from(*value));
  return {};
}

vz::Result<std::string> edit_netif(std::string_view netif, std::string_view ifname, std::string_view key,
                                   std::string_view value) {
  if (value.find_first_of(",;\"\n") != value.npos)
    return fail(Code::bad_value, fmt::format("Bad value for --{}: {}", key, value));
  std::string out;
  bool found = false;
  while (!netif.empty()) {
    size_t end = std::min(netif.find(';'), netif.size());
    std::string record(netif.substr(0, end));
    netif.remove_prefix(std::min(end + 1, netif.size()));
    std::string padded = "," + record + ",";
    if (padded.find(fmt::format(",ifname={},", ifname)) != padded.npos) {
      found = true;
      std::string mark = fmt::format(",{}=", key);
      size_t at = padded.find(mark);
      if (at == padded.npos) {
        padded += fmt::format("{}={},", key, value);
      } else {
        size_t from = at + mark.size();
        padded.replace(from, padded.find(',', from) - from, value);
      }
      record = padded.substr(1, padded.size() - 2);
    }
    if (!record.empty()) out += (out.empty() ? "" : ";") + record;
  }
  if (!found)
    return fail(vz::Error(Code::netdev, fmt::format("Container has no network device {}", ifname))
                    .with_hint(fmt::format("add it first: --netif_add {}", ifname)));
  return out;
}

vz::Result<> check_set_rules(const Options& options, const vz::SetOptions& set, const vz::Config& current) {
  if (!set.save && !set.dry_run) {
    for (const char* name : {"--name", "--ostemplate", "--stop-timeout", "--force"})
      if (options.has(name)) return fail(Code::bad_syntax, fmt::format("Error: {} can only be used with --save", name));
    if (set.mode == vz::SetMode::restart)
      return fail(Code::bad_syntax, "Error: --setmode restart can only be used with --save");
    std::string layout = current.get("VE_LAYOUT").value_or("");
    if (options.has("--diskspace") && (layout.starts_with("ploop") || layout == "image"))
      return fail(Code::bad_syntax, "Error: --diskspace of a container with an image can only be used with --save");
  }
  if (options.has("--nodemask") && !options.has("--cpumask"))
    return fail(Code::bad_syntax, "Error: --nodemask requires --cpumask");
  if (options.value_or("--cpumask", "") == "auto" && !options.has("--nodemask"))
    return fail(Code::bad_syntax, "Error: --cpumask auto requires --nodemask");
  bool has_swap = set.changes.get("SWAPPAGES") || current.get("SWAPPAGES");
  if (options.has("--ram") && !has_swap)
    return fail(vz::Error(Code::not_enough_ubc, "Error: required UB parameter (swap) not set")
                    .with_hint("give --swap too; --swap 0 for none"));
  return {};
}

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>

#include <fmt/format.h>
#include <vz/beancounters.h>

#include "vzctl/command.h"
#include "vzctl/format.h"
#include "vzctl/settings.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

vz::Result<vz::SetMode> parse_mode(const Options& options) {
  const std::string* word = options.last("--setmode");
  if (!word) return vz::SetMode::warn;
  if (*word == "restart") return vz::SetMode::restart;
  if (*word == "ignore") return vz::SetMode::ignore;
  return fail(Code::bad_syntax, fmt::format("Bad value for --setmode: {} (restart or ignore)", *word));
}

bool is_beancounter(const vz::Param& param) { return param.key && vz::find_ub_resource(param.key); }

// --reset_ub: the file's limits once more.
vz::Result<vz::SetOptions> reset_ub(const Options& options, const vz::Config& current) {
  if (options.given.size() != 1) return fail(Code::bad_syntax, "Error: --reset_ub allows no other option");
  vz::SetOptions out;
  out.reset_ub = true;
  for (const vz::Param& param : vz::params())
    if (is_beancounter(param))
      if (auto value = current.get(param.key)) out.changes.set(param.key, *value);
  return out;
}

// --ifname eth0 --mac … --ifname eth1 …: each option changes the device named last.
vz::Result<> edit_devices(const Options& options, const vz::Config& current, vz::SetOptions& out) {
  const std::string* ifname = nullptr;
  for (const auto& given : options.given) {
    if (given.name == "--ifname") ifname = &given.value;
    constexpr std::string_view kEdits[] = {"--mac", "--host_ifname", "--host_mac", "--bridge", "--mac_filter"};
    if (std::find(std::begin(kEdits), std::end(kEdits), given.name) == std::end(kEdits)) continue;
    if (!ifname) return fail(Code::bad_syntax, fmt::format("Error: {} requires --ifname", given.name));
    std::string before = out.changes.get("NETIF").value_or(current.get("NETIF").value_or(""));
    out.changes.set("NETIF", VZ_TRY(edit_netif(before, *ifname, given.name.substr(2), given.value)));
  }
  return {};
}

vz::Result<vz::SetOptions> set_options(const Options& options, const vz::Config& current) {
  if (options.has("--reset_ub")) return reset_ub(options, current);
  if (options.given.empty())
    return fail(vz::Error(Code::bad_syntax, "Nothing to set").with_hint("see: vzctl help set"));
  vz::SetOptions out;
  out.save = options.has("--save");
  out.force = options.has("--force");
  out.dry_run = options.has("--dry-run");
  out.mode = VZ_TRY(parse_mode(options));
  out.apply_config = options.value_or("--applyconfig", "");
  out.changes = VZ_TRY(settings_from(options));
  VZ_TRY(special_settings_from(options, out));
  VZ_TRY(edit_devices(options, current, out));
  VZ_TRY(check_set_rules(options, out, current));
  return out;
}

int print_plan(const Invocation& call, const vz::SetReport& report) {
  Table table{{{"target", "TARGET", -1, {}}, {"from", "FROM", -1, {}}, {"to", "TO", -1, {}}}, {}};
  for (const vz::Change& change : report.changes)
    table.rows.push_back({{change.target, change.target},
                          {change.from.empty() ? "-" : change.from, change.from},
                          {change.to.empty() ? "-" : change.to, change.to}});
  if (!call.options.has("--json")) return finish(call.reporter, put(to_text(table, {.fit = true})));
  Value::List waiting(report.needs_restart.begin(), report.needs_restart.end());
  return finish(call.reporter, put(to_json(Value::Object{{"changes", to_value(table)}, {"needs_restart", waiting}})));
}

}  // namespace

int run_set(Invocation& call) {
  // CT0 and a container without a file have only vz.conf below the new values.
  auto loaded = call.host->load(call.id);
  if (!loaded && loaded.error().code() != Code::no_config) return finish(call.reporter, loaded.error());
  auto set = set_options(call.options, loaded ? *loaded : call.host->global());
  if (!set) return finish(call.reporter, set.error());
  if (set->dry_run && call.options.has("--json")) call.reporter.set_verbosity(-1);
  auto report = call.container().set(*set, call.reporter);
  if (!report) return finish(call.reporter, report.error());
  return set->dry_run ? print_plan(call, *report) : 0;
}

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
// vzcpucheck: CPU units that were given out, next to what the host has.
#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>
#include <vz/container.h>

#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

constexpr std::uint64_t kUnits = 1000;  // of a container that says nothing, and of one CPU

constexpr Option kOptions[] = {
    {"-v,--verbose", nullptr, "A line for each container, too"},
    {"-a,--all", nullptr, "Count containers that do not run, too"},
    {"-j,--json", nullptr, "Print JSON"},
    {"--format", "FORMAT", "table, json or yaml", Values::format},
};

struct Share {
  std::uint64_t ctid, units;
};

struct Sums {
  std::vector<Share> shares;  // the host itself is 0
  std::uint64_t given = 0, power = 0;
};

vz::Result<Sums> add_up(const vz::Host& host, bool all) {
  Sums out;
  out.power = static_cast<std::uint64_t>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1l)) * kUnits;
  out.shares.push_back({0, host.global().number("VE0CPUUNITS").value_or(kUnits)});
  auto containers = VZ_TRY(vz::list_containers(host, all));
  for (const vz::ContainerInfo& info : containers)
    if (all || info.status.running)
      out.shares.push_back({info.id.value(), info.config.number("CPUUNITS").value_or(kUnits)});
  for (const Share& s : out.shares) out.given += s.units;
  return out;
}

std::string for_people(const Sums& sums, bool verbose) {
  std::string out;
  if (verbose) {
    Table table{{{"ctid", "VEID", 10, {}}, {"units", "CPUUNITS", 10, {}}}, {}};
    for (const Share& s : sums.shares)
      table.rows.push_back({{std::to_string(s.ctid), s.ctid}, {std::to_string(s.units), s.units}});
    out = to_text(table, {});
  }
  return out + fmt::format("Current CPU utilization: {}\nPower of the node: {}\n", sums.given, sums.power);
}

Value value_of(const Sums& sums) {
  Value::List list;
  for (const Share& s : sums.shares) list.push_back(Value::Object{{"ctid", s.ctid}, {"cpuunits", s.units}});
  return Value::Object{{"utilization", sums.given}, {"power", sums.power}, {"containers", std::move(list)}};
}

}  // namespace

std::span<const Option> vzcpucheck_options() { return kOptions; }

vz::Result<int> run_vzcpucheck(FaceCall& call) {
  const Options& o = call.options;
  Format format = VZ_TRY(chosen_format(o));
  if (format == Format::csv)
    return vz::fail(
        vz::Error(vz::Code::bad_syntax, "the report is not a table").with_hint("use --format json or yaml"));
  Sums sums = VZ_TRY(add_up(call.host, o.has("--all")));
  VZ_TRY(put(is_structured(format) ? to_structured(value_of(sums), format) : for_people(sums, o.has("--verbose"))));
  return 0;
}

}  // namespace vzctl

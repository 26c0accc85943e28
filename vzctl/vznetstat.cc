// SPDX-License-Identifier: GPL-2.0-or-later
// vznetstat: traffic of containers by class.
#include <fmt/format.h>

#include <vz/usage.h>
#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

constexpr Option kOptions[] = {
    {"-v,--ctid", "CTID", "Only this container", Values::ctid},
    {"-c,--class", "CLASS", "Only this class, 0 to 15"},
    {"-a,--all", nullptr, "Containers that do not run, too"},
    {"-r,--load", nullptr, "Read ETC/conf/networks_classes again; what is counted from now on is classified by it"},
    {"-j,--json", nullptr, "Print JSON"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
};

struct Filter {
  std::optional<unsigned> traffic_class;
};

Cell number(std::uint64_t n) { return {std::to_string(n), n}; }

void add_row(Table& table, const vz::UsageReport& ct, const std::string& traffic_class, const vz::TrafficCount& in,
             const vz::TrafficCount& out) {
  if (in.packets == 0 && out.packets == 0) return;
  table.rows.push_back({number(ct.id.value()),
                        {traffic_class, traffic_class},
                        number(out.bytes),
                        number(out.packets),
                        number(in.bytes),
                        number(in.packets)});
}

void add_rows(Table& table, const vz::UsageReport& ct, const Filter& filter) {
  const vz::Traffic& t = ct.usage.traffic;
  for (unsigned i = 0; i < vz::kTrafficClasses; ++i)
    if (!filter.traffic_class || *filter.traffic_class == i) add_row(table, ct, std::to_string(i), t.in(i), t.out(i));
  if (!filter.traffic_class) add_row(table, ct, "other", t.other_in, t.other_out);
}

vz::Result<Filter> filter_of(const Options& options) {
  Filter out;
  const std::string* word = options.last("--class");
  if (!word) return out;
  for (unsigned i = 0; i < vz::kTrafficClasses; ++i)
    if (*word == std::to_string(i)) out.traffic_class = i;
  if (!out.traffic_class)
    return vz::fail(vz::Code::bad_value, fmt::format("class {} is not a number from 0 to 15", printable(*word)));
  return out;
}

vz::Result<int> load_classes(FaceCall& call) {
  auto count = VZ_TRY(vz::load_network_classes(call.host));
  call.reporter.info(fmt::format("{} network{} loaded", count, count == 1 ? "" : "s"));
  return 0;
}

}  // namespace

std::span<const Option> vznetstat_options() { return kOptions; }

vz::Result<int> run_vznetstat(FaceCall& call) {
  const Options& o = call.options;
  if (o.has("--load")) return load_classes(call);
  Format format = VZ_TRY(chosen_format(o));
  Filter filter = VZ_TRY(filter_of(o));
  std::vector<vz::UsageReport> all;
  if (const std::string* word = o.last("--ctid")) {
    vz::Ctid id = VZ_TRY(call.host.resolve(*word));
    VZ_TRY(call.host.load(id));
    all.push_back(VZ_TRY(vz::read_usage(call.host, id)));
  } else {
    all = VZ_TRY(vz::read_usage(call.host, o.has("--all")));
  }
  Table table{{{"ctid", "CTID", -10, {}},
               {"class", "Net.Class", 9, {}},
               {"out_bytes", "Output(bytes)", 20, {}},
               {"out_packets", "Output(pkts)", 15, {}},
               {"in_bytes", "Input(bytes)", 20, {}},
               {"in_packets", "Input(pkts)", 15, {}}},
              {}};
  for (const auto& ct : all) add_rows(table, ct, filter);
  VZ_TRY(put(render(table, format, {})));
  return 0;
}

}  // namespace vzctl

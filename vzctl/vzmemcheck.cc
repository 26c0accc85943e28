// SPDX-License-Identifier: GPL-2.0-or-later
// vzmemcheck: memory that containers use and were promised, next to what the host has.
#include <fmt/format.h>
#include <vz/memory_report.h>

#include "vzctl/face.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

constexpr double kMiB = 1 << 20;

constexpr Option kOptions[] = {
    {"-v,--verbose", nullptr, "A line for each container, too"},
    {"-A,--absolute", nullptr, "Megabytes instead of percent"},
    {"-a,--all", nullptr, "Count containers that do not run, too"},
    {"-j,--json", nullptr, "Print JSON"},
    {"--format", "FORMAT", "table, json or yaml", Values::format},
};

using Number = std::optional<std::uint64_t>;

// The five numbers of a line. nullopt: unknown, or not limited.
struct Line {
  Number ram_used, ram_promised, swap_used, swap_promised, both_promised;
};

Number sum(Number a, Number b) { return a && b ? Number(*a + *b) : Number(); }

Line line_of(const vz::ContainerMemory& ct) {
  return {ct.ram_used, ct.ram_promised, ct.swap_used, ct.swap_promised, sum(ct.ram_promised, ct.swap_promised)};
}
Line line_of(const vz::MemoryTotals& t) {
  return {t.ram_used, t.ram_promised, t.swap_used, t.swap_promised, t.ram_promised + t.swap_promised};
}
Line whole_of(const vz::HostMemoryState& h) { return {h.ram, h.ram, h.swap, h.swap, h.ram + h.swap}; }

std::vector<Number> numbers(const Line& l) {
  return {l.ram_used, l.ram_promised, l.swap_used, l.swap_promised, l.both_promised};
}

std::string absolute(Number n) { return n ? fmt::format("{:.2f}", static_cast<double>(*n) / kMiB) : "-"; }

std::vector<Cell> row(const std::string& head, const Line& line, const Line* whole) {
  std::vector<Cell> out{{head, {}}};
  auto values = numbers(line), wholes = whole ? numbers(*whole) : values;
  for (size_t i = 0; i < values.size(); ++i) {
    bool known = values[i] && wholes[i];
    std::string text = !whole  ? absolute(values[i])
                       : known ? percentage(static_cast<double>(*values[i]), static_cast<double>(*wholes[i]))
                               : "-";
    out.push_back({text, {}});
  }
  return out;
}

std::string sums(const vz::MemoryReport& report, bool verbose, bool megabytes) {
  Table table{{{"ctid", "CTID", 10, {}},
               {"ram_util", "RAM util", 11, {}},
               {"ram_commit", "RAM commit", 11, {}},
               {"swap_util", "Swap util", 11, {}},
               {"swap_commit", "Swap commit", 11, {}},
               {"commit", "RAM+Swap commit", 15, {}}},
              {}};
  Line whole = whole_of(report.host);
  const Line* by = megabytes ? nullptr : &whole;
  if (verbose)
    for (const auto& ct : report.containers) table.rows.push_back(row(std::to_string(ct.id.value()), line_of(ct), by));
  std::string out = fmt::format("Output values in {}\n", megabytes ? "Mbytes" : "%");
  table.rows.push_back(row("Summary:", line_of(report.totals), by));
  if (megabytes) table.rows.push_back(row("Host:", whole, nullptr));
  return out + to_text(table, {});
}

std::string mib(std::uint64_t bytes) { return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / kMiB); }

std::string swap_line(const vz::SwapDevice& d) {
  std::string out =
      fmt::format("    {}: {}, {} used, priority {}", printable(d.name), mib(d.size), mib(d.used), d.priority);
  if (!d.zram) return out + ", on disk\n";
  if (d.stored > 0 && d.ram > 0)
    out += fmt::format(", zram: {} take {} of RAM ({:.2f} : 1)", mib(d.stored), mib(d.ram),
                       static_cast<double>(d.stored) / static_cast<double>(d.ram));
  else
    out += ", zram: empty";
  if (d.written) out += fmt::format(", {} written back to disk", mib(d.written));
  return out + "\n";
}

// What would happen if every container took what it was promised.
std::string overcommit(const vz::MemoryReport& r, Color wish) {
  bool color = use_color(wish, 1);
  const auto& t = r.totals;
  double promised = static_cast<double>(t.ram_promised + t.swap_promised);
  std::string out = fmt::format("\nHost: RAM {}, {} available; swap {}, {} free\n", mib(r.host.ram),
                                mib(r.host.ram_available), mib(r.host.swap), mib(r.host.swap_free));
  for (const auto& device : r.host.swaps) out += swap_line(device);
  out += fmt::format("Promised to {} container{}: RAM {}, swap {}; together {} % of the host's RAM\n", t.containers,
                     t.containers == 1 ? "" : "s", mib(t.ram_promised), mib(t.swap_promised),
                     percentage(promised, static_cast<double>(r.host.ram)));
  if (t.unlimited)
    out += paint(
        fmt::format("{} of them without a limit of RAM or swap: what they may take is not counted\n", t.unlimited),
        Tone::bad, color);
  out += "If all of it were used:\n";
  out += fmt::format("    in RAM           {}\n", mib(r.worst.in_ram));
  out += fmt::format("    compressed       {} (zram, {} {:.2f} : 1)\n", mib(r.worst.in_zram),
                     r.worst.ratio_measured ? "now" : "assumed", r.worst.ratio);
  out += fmt::format("    on disk          {}\n", mib(r.worst.on_disk));
  std::string nowhere = fmt::format("    without a place  {}\n", mib(r.worst.unbacked));
  return out + paint(nowhere, r.worst.unbacked ? Tone::bad : Tone::plain, color);
}

Value number(Number n) { return n ? Value(*n) : Value(); }

Value host_value(const vz::HostMemoryState& h) {
  Value::List devices;
  for (const auto& d : h.swaps)
    devices.push_back(Value::Object{{"name", d.name},
                                    {"size", d.size},
                                    {"used", d.used},
                                    {"priority", d.priority},
                                    {"zram", d.zram},
                                    {"stored", d.zram ? Value(d.stored) : Value()},
                                    {"compressed", d.zram ? Value(d.compressed) : Value()},
                                    {"ram", d.zram ? Value(d.ram) : Value()},
                                    {"written_back", d.zram ? Value(d.written) : Value()}});
  return Value::Object{{"ram", h.ram},
                       {"ram_available", h.ram_available},
                       {"swap", h.swap},
                       {"swap_free", h.swap_free},
                       {"swap_devices", std::move(devices)}};
}

// Bytes everywhere.
Value report_value(const vz::MemoryReport& r) {
  Value::List containers;
  for (const auto& ct : r.containers)
    containers.push_back(Value::Object{{"ctid", std::uint64_t{ct.id.value()}},
                                       {"name", ct.name.empty() ? Value() : Value(ct.name)},
                                       {"running", ct.running},
                                       {"ram_used", number(ct.ram_used)},
                                       {"ram_promised", number(ct.ram_promised)},
                                       {"swap_used", number(ct.swap_used)},
                                       {"swap_promised", number(ct.swap_promised)},
                                       {"private_used", number(ct.private_used)},
                                       {"private_promised", number(ct.private_promised)}});
  const auto& t = r.totals;
  return Value::Object{{"host", host_value(r.host)},
                       {"containers", std::move(containers)},
                       {"totals", Value::Object{{"containers", std::uint64_t{t.containers}},
                                                {"unlimited", std::uint64_t{t.unlimited}},
                                                {"ram_used", t.ram_used},
                                                {"ram_promised", t.ram_promised},
                                                {"swap_used", t.swap_used},
                                                {"swap_promised", t.swap_promised}}},
                       {"worst_case", Value::Object{{"in_ram", r.worst.in_ram},
                                                    {"in_zram", r.worst.in_zram},
                                                    {"on_disk", r.worst.on_disk},
                                                    {"unbacked", r.worst.unbacked},
                                                    {"ratio", r.worst.ratio},
                                                    {"ratio_measured", r.worst.ratio_measured}}}};
}

}  // namespace

std::span<const Option> vzmemcheck_options() { return kOptions; }

vz::Result<int> run_vzmemcheck(FaceCall& call) {
  const Options& o = call.options;
  Format format = VZ_TRY(chosen_format(o));
  if (format == Format::csv)
    return vz::fail(
        vz::Error(vz::Code::bad_syntax, "the report is not a table").with_hint("use --format json or yaml"));
  auto report = VZ_TRY(vz::memory_report(call.host, o.has("--all")));
  std::string text = is_structured(format) ? to_structured(report_value(report), format)
                                           : sums(report, o.has("--verbose"), o.has("--absolute")) +
                                                 overcommit(report, call.reporter.color());
  VZ_TRY(put(text));
  return 0;
}

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/top.h"

#include <algorithm>
#include <array>
#include <tuple>

#include <fmt/format.h>

#include "vzctl/reporter.h"

namespace vzctl {
namespace {

using Number = std::optional<std::uint64_t>;
using Real = std::optional<double>;

constexpr double kBusyPressure = 10;  // percent: worth a colour

double seconds_between(const TopReading& now, const TopReading& before) {
  return std::chrono::duration<double>(now.time - before.time).count();
}

Real rate(std::uint64_t now, std::uint64_t before, double seconds) {
  if (seconds <= 0 || now < before) return std::nullopt;
  return static_cast<double>(now - before) / seconds;
}

std::uint64_t traffic_bytes(const vz::Traffic& t, bool in) {
  std::uint64_t sum = in ? t.other_in.bytes : t.other_out.bytes;
  for (unsigned i = 0; i < vz::kTrafficClasses; ++i) sum += in ? t.in(i).bytes : t.out(i).bytes;
  return sum;
}

Number failures_of(const TopContainer& ct) {
  if (!ct.beancounters) return std::nullopt;
  std::uint64_t sum = 0;
  for (const auto& row : ct.beancounters->rows) sum += row.failcnt.value_or(0);
  return sum;
}

Number grown(Number now, Number before) {
  if (!now || !before) return std::nullopt;
  return *now > *before ? *now - *before : 0;
}

Real avg10(const std::optional<vz::Stall>& stall) { return stall ? Real(stall->avg10) : std::nullopt; }

TopRow row_of(const TopContainer& ct, const TopContainer* before, double seconds) {
  TopRow row;
  row.id = ct.id;
  row.name = ct.name;
  row.ram = ct.sample.ram_held;
  row.ram_limit = ct.sample.ram_limit;
  row.swap = ct.sample.swap_held;
  row.processes = ct.sample.numproc;
  row.cpu_some = avg10(ct.pressure.cpu.some);
  row.memory_some = avg10(ct.pressure.memory.some);
  row.memory_full = avg10(ct.pressure.memory.full);
  row.io_some = avg10(ct.pressure.io.some);
  row.io_full = avg10(ct.pressure.io.full);
  if (!before) return row;
  const vz::Usage &u = ct.usage, &b = before->usage;
  if (auto cpu = rate(u.cpu_ns, b.cpu_ns, seconds)) row.cpu = *cpu / 1e7;
  row.read = rate(u.read_bytes, b.read_bytes, seconds);
  row.written = rate(u.written_bytes, b.written_bytes, seconds);
  row.in = rate(traffic_bytes(u.traffic, true), traffic_bytes(b.traffic, true), seconds);
  row.out = rate(traffic_bytes(u.traffic, false), traffic_bytes(b.traffic, false), seconds);
  row.failures = grown(failures_of(ct), failures_of(*before));
  row.oom_kills = grown(ct.sample.oom_kills, before->sample.oom_kills);
  return row;
}

struct SortName {
  const char* name;
  TopSort sort;
};
constexpr std::array kSorts = {
    SortName{"ctid", TopSort::ctid},     SortName{"name", TopSort::name}, SortName{"cpu", TopSort::cpu},
    SortName{"ram", TopSort::ram},       SortName{"swap", TopSort::swap}, SortName{"nproc", TopSort::processes},
    SortName{"psi", TopSort::pressure},  SortName{"io", TopSort::io},     SortName{"net", TopSort::network},
    SortName{"fail", TopSort::failures},
};

double sort_value(const TopRow& r, TopSort sort) {
  auto sum = [](Real a, Real b) { return a.value_or(0) + b.value_or(0); };
  auto of = [](Number n) { return static_cast<double>(n.value_or(0)); };
  switch (sort) {
    case TopSort::cpu:
      return r.cpu.value_or(0);
    case TopSort::ram:
      return of(r.ram);
    case TopSort::swap:
      return of(r.swap);
    case TopSort::processes:
      return of(r.processes);
    case TopSort::pressure:
      return std::max({r.cpu_some.value_or(0), r.memory_some.value_or(0), r.io_some.value_or(0)});
    case TopSort::io:
      return sum(r.read, r.written);
    case TopSort::network:
      return sum(r.in, r.out);
    case TopSort::failures:
      return of(r.failures) + of(r.oom_kills);
    default:
      return 0;
  }
}

Cell bytes(Number n) { return n ? Cell{short_bytes(static_cast<double>(*n)), *n} : Cell{"-", {}}; }
Cell speed(Real r) { return r ? Cell{short_bytes(*r), *r} : Cell{"-", {}}; }
Cell count(Number n) { return n ? Cell{std::to_string(*n), *n} : Cell{"-", {}}; }
Cell percent(Real r) {
  return r ? Cell{fmt::format("{:.1f}", *r), *r, *r >= kBusyPressure ? Tone::bad : Tone::plain} : Cell{"-", {}};
}
Cell events(Number n) {
  Cell cell = count(n);
  if (n && *n) cell.tone = Tone::bad;
  return cell;
}
Cell share(Number part, Number whole) {
  if (!part || !whole || *whole == 0 || *whole == vz::Limit::kUnlimited) return {"-", {}};
  const double value = static_cast<double>(*part) / static_cast<double>(*whole) * 100;
  return {fmt::format("{:.0f}", value), value, value >= 90 ? Tone::bad : Tone::plain};
}

std::string limit_text(std::uint64_t n) { return n >= vz::Limit::kUnlimited ? "-" : std::to_string(n); }
std::string number_text(Number n) { return n ? std::to_string(*n) : "-"; }

std::string stall_line(const char* what, const vz::Stalls& stalls) {
  std::string out = fmt::format("  {:<8}", what);
  for (const auto* stall : {&stalls.some, &stalls.full})
    if (*stall)
      out += fmt::format("{} {:5.1f} {:5.1f} {:5.1f} %   ", stall == &stalls.some ? "some" : "full", (*stall)->avg10,
                         (*stall)->avg60, (*stall)->avg300);
  return out;
}

void add_traffic(std::vector<std::string>& out, const vz::Traffic& now, const vz::Traffic* before, double seconds) {
  out.push_back("Traffic      class           in          out         in/s        out/s");
  auto line = [&](const std::string& name, std::uint64_t in, std::uint64_t sent, std::uint64_t in_b,
                  std::uint64_t sent_b) {
    auto speed_text = [&](std::uint64_t a, std::uint64_t b) {
      auto r = before ? rate(a, b, seconds) : std::nullopt;
      return r ? short_bytes(*r) : std::string("-");
    };
    if (in || sent)
      out.push_back(fmt::format("             {:<6} {:>11} {:>12} {:>12} {:>12}", name,
                                short_bytes(static_cast<double>(in)), short_bytes(static_cast<double>(sent)),
                                speed_text(in, in_b), speed_text(sent, sent_b)));
  };
  const vz::Traffic none;
  const vz::Traffic& b = before ? *before : none;
  for (unsigned i = 0; i < vz::kTrafficClasses; ++i)
    line(std::to_string(i), now.in(i).bytes, now.out(i).bytes, b.in(i).bytes, b.out(i).bytes);
  line("other", now.other_in.bytes, now.other_out.bytes, b.other_in.bytes, b.other_out.bytes);
}

void add_beancounters(std::vector<std::string>& out, const TopContainer& now, const TopContainer* before) {
  if (!now.beancounters) return;
  out.push_back(fmt::format("{:<14} {:>16} {:>16} {:>16} {:>16} {:>8} {:>6}", "Beancounter", "held", "maxheld",
                            "barrier", "limit", "failcnt", "new"));
  for (const auto& resource : vz::ub_resources()) {
    if (!vz::ub_is_real(resource)) continue;
    const vz::UbCounter& c = (*now.beancounters)[resource.id];
    Number delta;
    if (before && before->beancounters) delta = grown(c.failcnt, (*before->beancounters)[resource.id].failcnt);
    out.push_back(fmt::format("{:<14} {:>16} {:>16} {:>16} {:>16} {:>8} {:>6}", resource.name, number_text(c.held),
                              number_text(c.maxheld), limit_text(c.barrier), limit_text(c.limit),
                              number_text(c.failcnt), delta && *delta ? fmt::format("+{}", *delta) : ""));
  }
}

}  // namespace

vz::Result<TopReading> read_top(const vz::Host& host) {
  TopReading out;
  auto containers = VZ_TRY(vz::list_containers(host, false));
  std::vector<vz::Ctid> ids;
  for (const auto& ct : containers) ids.push_back(ct.id);
  auto samples = vz::sample_containers(host, containers,
                                       {vz::Reading::ram_held, vz::Reading::ram_limit, vz::Reading::swap_held,
                                        vz::Reading::swap_limit, vz::Reading::numproc, vz::Reading::oom});
  auto pressures = vz::read_pressure(ids);
  auto counters = vz::Beancounters::open(host);
  auto rows = counters ? counters->read(ids) : vz::fail(std::move(counters).error());
  std::map<vz::Ctid, vz::Usage> usages;
  for (auto& report : VZ_TRY(vz::read_usage(host, false))) usages[report.id] = report.usage;
  out.time = std::chrono::steady_clock::now();
  for (size_t i = 0; i < ids.size(); ++i)
    out.containers.push_back({ids[i], containers[i].config.get("NAME").value_or(""), samples[i], usages[ids[i]],
                              pressures[i], rows && i < rows->size() ? std::optional((*rows)[i]) : std::nullopt});
  if (auto memory = vz::read_host_memory()) out.host = *memory;
  out.pressure = vz::read_host_pressure();
  return out;
}

const TopContainer* find_container(const TopReading& reading, vz::Ctid id) {
  for (const auto& ct : reading.containers)
    if (ct.id == id) return &ct;
  return nullptr;
}

std::vector<TopRow> top_rows(const TopReading& now, const TopReading* before) {
  std::vector<TopRow> out;
  for (const auto& ct : now.containers)
    out.push_back(
        row_of(ct, before ? find_container(*before, ct.id) : nullptr, before ? seconds_between(now, *before) : 0));
  return out;
}

vz::Result<TopSort> parse_top_sort(std::string_view word) {
  std::string known;
  for (const auto& s : kSorts) {
    if (word == s.name) return s.sort;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", s.name);
  }
  return vz::fail(vz::Error(vz::Code::bad_value, fmt::format("cannot sort by {}", printable(word)))
                      .with_hint("by one of: " + known));
}

const char* top_sort_name(TopSort sort) {
  for (const auto& s : kSorts)
    if (s.sort == sort) return s.name;
  return "?";
}

void sort_top(std::vector<TopRow>& rows, TopSort sort, bool reverse) {
  std::sort(rows.begin(), rows.end(), [&](const TopRow& a, const TopRow& b) {
    const TopRow &first = reverse ? b : a, &second = reverse ? a : b;
    if (sort == TopSort::ctid) return first.id < second.id;
    if (sort == TopSort::name) return std::tie(first.name, first.id) < std::tie(second.name, second.id);
    const double x = sort_value(first, sort), y = sort_value(second, sort);
    return x != y ? x > y : a.id < b.id;
  });
}

Table top_table(const std::vector<TopRow>& rows) {
  Table table{{{"ctid", "CTID", 10, {}},
               {"name", "NAME", -12, {}},
               {"cpu", "CPU%", 6, {}},
               {"ram", "RAM", 6, {}},
               {"ram_share", "RAM%", 4, {}},
               {"swap", "SWAP", 6, {}},
               {"nproc", "NPROC", 5, {}},
               {"cpu_some", "PSIcpu", 6, {}},
               {"memory_some", "mem", 5, {}},
               {"memory_full", "full", 5, {}},
               {"io_some", "io", 5, {}},
               {"io_full", "full", 5, {}},
               {"read", "READ/s", 6, {}},
               {"written", "WRITE/s", 7, {}},
               {"in", "IN/s", 6, {}},
               {"out", "OUT/s", 6, {}},
               {"failures", "FAIL", 5, {}},
               {"oom_kills", "OOM", 3, {}}},
              {}};
  for (const auto& r : rows) {
    const std::string name = r.name.empty() ? "-" : printable(r.name).substr(0, 12);
    table.rows.push_back({{std::to_string(r.id.value()), std::uint64_t{r.id.value()}},
                          {name, r.name},
                          r.cpu ? Cell{fmt::format("{:.1f}", *r.cpu), *r.cpu} : Cell{"-", {}},
                          bytes(r.ram),
                          share(r.ram, r.ram_limit),
                          bytes(r.swap),
                          count(r.processes),
                          percent(r.cpu_some),
                          percent(r.memory_some),
                          percent(r.memory_full),
                          percent(r.io_some),
                          percent(r.io_full),
                          speed(r.read),
                          speed(r.written),
                          speed(r.in),
                          speed(r.out),
                          events(r.failures),
                          events(r.oom_kills)});
  }
  return table;
}

std::vector<std::string> top_summary(const TopReading& now) {
  const auto& h = now.host;
  auto text = [](std::uint64_t n) { return short_bytes(static_cast<double>(n)); };
  std::string pressure = "Host pressure, 10 s:";
  for (auto [name, stalls] : {std::pair("cpu", &now.pressure.cpu), std::pair("memory", &now.pressure.memory),
                              std::pair("io", &now.pressure.io)})
    if (stalls->some)
      pressure +=
          fmt::format("  {} {:.1f}/{:.1f} %", name, stalls->some->avg10, stalls->full ? stalls->full->avg10 : 0);
  return {fmt::format("Containers: {}   Host RAM: {}, {} available   swap: {}, {} free", now.containers.size(),
                      text(h.ram), text(h.ram_available), text(h.swap), text(h.swap_free)),
          pressure + "  (some/full)"};
}

std::vector<std::string> top_details(const TopContainer& now, const TopContainer* before, double seconds) {
  auto text = [](Number n) {
    return !n ? "-" : *n == vz::Limit::kUnlimited ? "unlimited" : short_bytes(static_cast<double>(*n));
  };
  const vz::Sample& s = now.sample;
  std::vector<std::string> out{
      fmt::format("CT {} {}", now.id.value(), printable(now.name)),
      fmt::format("RAM {} of {}   swap {} of {}   processes {}   OOM kills {}", text(s.ram_held), text(s.ram_limit),
                  text(s.swap_held), text(s.swap_limit), number_text(s.numproc), number_text(s.oom_kills)),
      fmt::format("CPU {:.1f} s user, {:.1f} s system   disk {} read, {} written",
                  static_cast<double>(now.usage.cpu_user_ns) / 1e9, static_cast<double>(now.usage.cpu_system_ns) / 1e9,
                  text(now.usage.read_bytes), text(now.usage.written_bytes)),
      "Pressure     10 s  60 s 300 s",
      stall_line("cpu", now.pressure.cpu),
      stall_line("memory", now.pressure.memory),
      stall_line("io", now.pressure.io)};
  add_traffic(out, now.usage.traffic, before ? &before->usage.traffic : nullptr, seconds);
  add_beancounters(out, now, before);
  return out;
}

std::string short_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "K", "M", "G", "T", "P", "E"};
  size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < std::size(kUnits)) bytes /= 1024, ++unit;
  if (unit == 0) return fmt::format("{:.0f}", bytes);
  return bytes < 10 ? fmt::format("{:.1f}{}", bytes, kUnits[unit]) : fmt::format("{:.0f}{}", bytes, kUnits[unit]);
}

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/ubc_table.h"

#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "vzctl/reporter.h"

namespace vzctl {
namespace {

using Number = std::optional<std::uint64_t>;

constexpr double kPage = 4096;

bool is_bound(std::uint64_t n) { return n < vz::Limit::kUnlimited; }

// At most 5 characters.
std::string scaled(double value, double step) {
  constexpr const char* kSuffixes[] = {"", "K", "M", "G", "T", "P", "E"};
  size_t i = 0;
  while (value >= step - 0.5 && i + 1 < std::size(kSuffixes)) {
    value /= step;
    ++i;
  }
  if (i == 0 || value >= 99.95) return fmt::format("{:.0f}{}", value, kSuffixes[i]);
  return fmt::format("{:.{}f}{}", value, value >= 9.995 ? 1 : 2, kSuffixes[i]);
}

std::string amount(double value, vz::UbUnit unit) {
  if (unit == vz::UbUnit::objects) return value < 100000 ? fmt::format("{:.0f}", value) : scaled(value, 1000);
  return scaled(unit == vz::UbUnit::pages ? value * kPage : value, 1024);
}

std::string share(Number n, std::uint64_t bound) {
  if (!n || !is_bound(bound) || bound == 0 || *n == 0) return "-";
  double percent = std::floor(static_cast<double>(*n) * 100 / static_cast<double>(bound));
  return percent > 999 ? ">9x" : fmt::format("{:.0f}%", percent);
}

bool close(Number n, std::uint64_t bound, double factor) {
  return factor > 0 && n && *n > 0 && is_bound(bound) && bound != 0 &&
         static_cast<double>(*n) >= static_cast<double>(bound) * factor;
}

// Held of a promise is no reason to look at it.
bool worth_a_line(const vz::UbCounter& c, Number failcnt, const UbcView& v) {
  if (failcnt.value_or(0) > 0) return true;
  return close(c.held, c.barrier, v.quiet_held) || close(c.held, c.limit, v.quiet_held) ||
         close(c.maxheld, c.barrier, v.quiet_maxheld) || close(c.maxheld, c.limit, v.quiet_maxheld);
}

std::string signed_amount(std::optional<std::int64_t> change, vz::UbUnit unit) {
  if (!change || *change == 0) return "-";
  return (*change > 0 ? "+" : "-") + amount(std::fabs(static_cast<double>(*change)), unit);
}

std::string dashes(const UbcView& v) {
  return std::string("-------------+---------------+---------------+-----+-----+------") +
         (v.incremental ? "+------" : "");
}

std::string heading(const vz::UbSnapshot& s, const std::map<std::uint32_t, std::string>& names, const UbcView& v) {
  auto name = names.find(s.id.value());
  std::string title = fmt::format("CT {}", s.id.value());
  if (name != names.end() && !name->second.empty()) title += fmt::format(" ({})", printable(name->second));
  std::string line(dashes(v).size(), '-');
  std::string columns = " HELD Bar% Lim%| MAXH Bar% Lim%| BAR | LIM | FAIL";
  if (v.incremental) columns += " |CHANGE";
  // A long name gets a line of its own.
  std::string lead = title.size() > 13 ? title + "\n" + std::string(13, ' ') : fmt::format("{:<13}", title);
  return line + "\n" + lead + "|" + columns + "\n" + dashes(v) + "\n";
}

std::string row(const vz::UbResource& r, const vz::UbCounter& c, const UbcChange& change, const UbcView& v) {
  Number failcnt = v.relative ? change.failcnt : c.failcnt;
  Number barrier = is_bound(c.barrier) ? Number(c.barrier) : Number(0);
  Number limit = is_bound(c.limit) ? Number(c.limit) : Number(0);
  std::string fails = failcnt.value_or(0) ? amount(static_cast<double>(*failcnt), vz::UbUnit::objects) : "-";
  std::string out = fmt::format("{:>13}|{:>5}{:>5}{:>5}|{:>5}{:>5}{:>5}|{:>5}|{:>5}|", r.name,
                                ubc_amount(c.held, r.unit), share(c.held, c.barrier), share(c.held, c.limit),
                                ubc_amount(c.maxheld, r.unit), share(c.maxheld, c.barrier), share(c.maxheld, c.limit),
                                ubc_amount(barrier, r.unit), ubc_amount(limit, r.unit)) +
                    fmt::format("{:>6}", fails);
  if (v.incremental) out += fmt::format("|{:>6}", signed_amount(change.held, r.unit));
  return paint(out, failcnt.value_or(0) ? Tone::bad : Tone::plain, v.color) + "\n";
}

std::string rst_cell(const char* text) { return text && *text ? text : "none"; }

std::string error_name(int error) {
  const char* name = error ? strerrorname_np(error) : nullptr;
  return name ? fmt::format("``{}``", name) : "none";
}

Value number(Number n) { return n ? Value(*n) : Value(); }

}  // namespace

std::string ubc_amount(Number value, vz::UbUnit unit) {
  if (!value) return "n/a";
  return *value == 0 ? "-" : amount(static_cast<double>(*value), unit);
}

UbcChange ubc_change(const UbcLook& before, const vz::UbSnapshot& now, vz::Ub row) {
  const vz::UbCounter& c = now[row];
  auto found = before.find(now.id.value());
  UbcChange out;
  if (found == before.end()) {
    out.failcnt = c.failcnt;
    return out;
  }
  const vz::UbCounter& old = found->second[row];
  if (c.held && old.held) out.held = static_cast<std::int64_t>(*c.held - *old.held);
  // Counters begin at 0 when a container starts.
  if (c.failcnt)
    out.failcnt = *c.failcnt >= old.failcnt.value_or(0) ? *c.failcnt - old.failcnt.value_or(0) : *c.failcnt;
  return out;
}

std::string ubc_text(const std::vector<vz::UbSnapshot>& now, const std::map<std::uint32_t, std::string>& names,
                     const UbcLook& before, const UbcView& v) {
  std::string out;
  for (const vz::UbSnapshot& s : now) {
    std::string rows;
    for (const vz::UbResource& r : vz::ub_resources()) {
      UbcChange change = ubc_change(before, s, r.id);
      const Number failcnt = v.relative ? change.failcnt : s[r.id].failcnt;
      if (vz::ub_is_real(r) && (!v.quiet || worth_a_line(s[r.id], failcnt, v))) rows += row(r, s[r.id], change, v);
    }
    if (!rows.empty()) out += heading(s, names, v) + rows + std::string(dashes(v).size(), '-') + "\n";
  }
  return out;
}

Value ubc_value(const std::vector<vz::UbSnapshot>& now, const UbcLook& before, const UbcView& v) {
  Value::List out;
  for (const vz::UbSnapshot& s : now) {
    Value::Object rows;
    for (const vz::UbResource& r : vz::ub_resources()) {
      if (!vz::ub_is_real(r)) continue;
      const vz::UbCounter& c = s[r.id];
      UbcChange change = ubc_change(before, s, r.id);
      if (v.quiet && !worth_a_line(c, v.relative ? change.failcnt : c.failcnt, v)) continue;
      Value::Object counter{{"unit", vz::ub_unit_name(r.unit)},
                            {"held", number(c.held)},
                            {"maxheld", number(c.maxheld)},
                            {"barrier", c.barrier},
                            {"limit", c.limit},
                            {"failcnt", number(c.failcnt)}};
      if (v.incremental) counter.emplace_back("held_change", change.held ? Value(*change.held) : Value());
      if (v.relative) counter.emplace_back("failcnt_change", number(change.failcnt));
      rows.emplace_back(r.name, std::move(counter));
    }
    if (!v.quiet || !rows.empty())
      out.push_back(Value::Object{{"ctid", std::uint64_t{s.id.value()}}, {"resources", std::move(rows)}});
  }
  return out;
}

std::string ubc_store(const std::vector<vz::UbSnapshot>& now) {
  std::string out = "Version: 2.5\n";
  for (const vz::UbSnapshot& s : now) {
    std::string id = fmt::format("{}:", s.id.value());
    for (const vz::UbResource& r : vz::ub_resources()) {
      const vz::UbCounter& c = s[r.id];
      if (!vz::ub_is_real(r) || (!c.held && !c.failcnt)) continue;
      out += fmt::format("{:>10}  {:<12} {:>20} {:>20} {:>20} {:>20} {:>20}\n", id, r.name, c.held.value_or(0),
                         c.maxheld.value_or(0), c.barrier, c.limit, c.failcnt.value_or(0));
      id.clear();
    }
  }
  return out;
}

std::string ubc_rst() {
  std::string out =
      ".. list-table::\n   :header-rows: 1\n\n   * - row\n     - unit\n     - counted, on a stock host\n"
      "     - read, without BPF programs\n     - limited by\n     - refused with\n";
  for (const vz::UbResource& r : vz::ub_resources()) {
    if (!vz::ub_is_real(r)) continue;
    const char* limiter = r.limiter == vz::UbLimiter::nothing ? "**nothing**: " : "";
    out += fmt::format("   * - {}\n     - {}\n     - {}\n     - {}\n     - {}{}\n     - {}\n", r.name,
                       vz::ub_unit_name(r.unit), rst_cell(r.stock), rst_cell(r.without), limiter, rst_cell(r.by),
                       error_name(r.error));
  }
  return out;
}

UbcLook ubc_look(const std::vector<vz::UbSnapshot>& stored) {
  UbcLook out;
  for (const vz::UbSnapshot& s : stored) out[s.id.value()] = s;
  return out;
}

}  // namespace vzctl

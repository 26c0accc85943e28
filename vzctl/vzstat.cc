// SPDX-License-Identifier: GPL-2.0-or-later
// vzstat: what containers used in a period, for billing.
#include <ctime>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <vz/usage.h>
#include "vzctl/face.h"
#include "vzctl/format.h"
#include "vzctl/vzstat.h"

namespace vzctl {
namespace {

constexpr Option kOptions[] = {
    {"--since", "TIME", "Begin of the period: YYYY-MM-DD[ HH:MM[:SS]], @SECONDS since 1970, or as in 30d, 12h ago"},
    {"--until", "TIME", "Its end; now otherwise"},
    {"--format", "FORMAT", "text, json, csv or yaml", Values::format},
    {"-j,--json", nullptr, "Print JSON"},
    {"--record", nullptr, "Take the readings that reports are made of; vz-usage.timer does it every five minutes"},
};

constexpr double kGiB = 1u << 30, kGB = 1e9;

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }
double gib_hours(std::uint64_t kib_s) { return static_cast<double>(kib_s) / (kGiB / 1024) / 3600; }

// Six digits behind the point: a second of a GiB is still there.
double rounded(double value) { return std::round(value * 1e6) / 1e6; }

std::string when(std::int64_t time) {
  const std::time_t t = time;
  std::tm local{};
  localtime_r(&t, &local);
  char text[32];
  (void)std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
  return text;
}

vz::TrafficCount sum(const vz::Traffic& t, const vz::TrafficCount (vz::Traffic::*v4)[vz::kTrafficClasses],
                     const vz::TrafficCount (vz::Traffic::*v6)[vz::kTrafficClasses]) {
  vz::TrafficCount out;
  for (unsigned i = 1; i < vz::kTrafficClasses; ++i) {
    out += (t.*v4)[i];
    out += (t.*v6)[i];
  }
  return out;
}

Cell decimal(double value, int digits) { return {fmt::format("{:.{}f}", value, digits), rounded(value)}; }
Cell whole(std::uint64_t n) { return {std::to_string(n), n}; }

// For people: sums over the classes that are paid for, all but 0.
Table text_table(const std::vector<vz::UsagePeriod>& periods) {
  Table table{{{"ctid", "CTID", 10, {}},
               {"name", "NAME", -12, {}},
               {"from", "FROM", 16, {}},
               {"to", "TO", 16, {}},
               {"run", "RUN(h)", 8, {}},
               {"cpu", "CPU(s)", 10, {}},
               {"ram", "RAM(GiB*h)", 10, {}},
               {"swap", "SWAP(GiB*h)", 11, {}},
               {"read", "READ(GB)", 9, {}},
               {"write", "WRITE(GB)", 9, {}},
               {"in", "IN(GB)", 9, {}},
               {"out", "OUT(GB)", 9, {}}},
              {}};
  for (const auto& p : periods) {
    const vz::Usage& u = p.usage;
    auto gb = [](std::uint64_t bytes) { return decimal(static_cast<double>(bytes) / kGB, 3); };
    const std::string name = p.name.empty() ? "-" : printable(p.name);
    table.rows.push_back({whole(p.id.value()),
                          {p.destroyed ? name + " (destroyed)" : name, p.name},
                          {when(p.from), p.from},
                          {when(p.to), p.to},
                          decimal(static_cast<double>(u.run_s) / 3600, 2),
                          decimal(seconds(u.cpu_ns), 2),
                          decimal(gib_hours(u.ram_kib_s), 3),
                          decimal(gib_hours(u.swap_kib_s), 3),
                          gb(u.read_bytes),
                          gb(u.written_bytes),
                          gb(sum(u.traffic, &vz::Traffic::ip4_in, &vz::Traffic::ip6_in).bytes),
                          gb(sum(u.traffic, &vz::Traffic::ip4_out, &vz::Traffic::ip6_out).bytes)});
  }
  return table;
}

Value::Object numbers_of(const vz::Usage& u) {
  return {{"run_seconds", u.run_s},
          {"cpu_seconds", seconds(u.cpu_ns)},
          {"cpu_user_seconds", seconds(u.cpu_user_ns)},
          {"cpu_system_seconds", seconds(u.cpu_system_ns)},
          {"ram_gib_hours", rounded(gib_hours(u.ram_kib_s))},
          {"swap_gib_hours", rounded(gib_hours(u.swap_kib_s))},
          {"read_bytes", u.read_bytes},
          {"written_bytes", u.written_bytes},
          {"reads", u.reads},
          {"writes", u.writes}};
}

Value class_value(const vz::Traffic& t, unsigned i) {
  return Value::Object{{"class", std::uint64_t{i}},           {"in_bytes", t.in(i).bytes},
                       {"in_packets", t.in(i).packets},       {"out_bytes", t.out(i).bytes},
                       {"out_packets", t.out(i).packets},     {"ipv6_in_bytes", t.ip6_in[i].bytes},
                       {"ipv6_out_bytes", t.ip6_out[i].bytes}};
}

Value period_value(const vz::UsagePeriod& p) {
  Value::Object out{{"ctid", std::uint64_t{p.id.value()}},
                    {"name", p.name.empty() ? Value() : Value(p.name)},
                    {"series", p.series},
                    {"from", p.from},
                    {"to", p.to},
                    {"destroyed", p.destroyed}};
  for (auto& field : numbers_of(p.usage)) out.push_back(std::move(field));
  Value::List classes;
  for (unsigned i = 0; i < vz::kTrafficClasses; ++i)
    if (p.usage.traffic.in(i).packets || p.usage.traffic.out(i).packets)
      classes.push_back(class_value(p.usage.traffic, i));
  out.emplace_back("traffic", std::move(classes));
  return out;
}

// Every class has its columns, used or not: a spreadsheet wants them in the same place each month.
Table csv_table(const std::vector<vz::UsagePeriod>& periods) {
  Table table;
  auto column = [&](std::string key) { table.columns.push_back({std::move(key), "", 0, {}}); };
  for (const char* key : {"ctid", "name", "series", "from", "to", "destroyed"}) column(key);
  for (const auto& [key, value] : numbers_of({})) column(key);
  for (unsigned i = 0; i < vz::kTrafficClasses; ++i)
    for (const char* direction : {"in", "out"}) column(fmt::format("class{}_{}_bytes", i, direction));
  for (const auto& p : periods) {
    std::vector<Cell> row{
        {"", std::uint64_t{p.id.value()}}, {"", p.name}, {"", p.series}, {"", p.from}, {"", p.to}, {"", p.destroyed}};
    for (auto& [key, value] : numbers_of(p.usage)) row.push_back({"", std::move(value)});
    for (unsigned i = 0; i < vz::kTrafficClasses; ++i) {
      row.push_back({"", p.usage.traffic.in(i).bytes});
      row.push_back({"", p.usage.traffic.out(i).bytes});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

vz::Result<std::vector<vz::UsagePeriod>> periods_of(FaceCall& call, std::int64_t since,
                                                    std::optional<std::int64_t> until) {
  auto all = VZ_TRY(vz::usage_between(call.host, since, until));
  if (call.options.words.empty()) return all;
  std::vector<vz::Ctid> wanted;
  for (const auto& word : call.options.words) {
    // A container that was destroyed has no configuration any more, but a bill.
    auto number = vz::Ctid::parse(word);
    wanted.push_back(number ? *number : VZ_TRY(call.host.resolve(word)));
  }
  std::erase_if(
      all, [&](const vz::UsagePeriod& p) { return std::find(wanted.begin(), wanted.end(), p.id) == wanted.end(); });
  return all;
}

}  // namespace

vz::Result<std::int64_t> parse_moment(const std::string& text, std::int64_t now) {
  auto bad = [&] {
    return vz::fail(vz::Error(vz::Code::bad_value, fmt::format("{} is no time", printable(text)))
                        .with_hint("as in 2026-11-01, \"2026-11-01 06:00\", @1793491200, 30d, 12h"));
  };
  char* end = nullptr;
  if (text.size() > 1 && text[0] == '@') {
    const long long value = std::strtoll(text.c_str() + 1, &end, 10);
    return *end == '\0' && value >= 0 && text[1] >= '0' && text[1] <= '9' ? vz::Result<std::int64_t>(value) : bad();
  }
  if (!text.empty() && text.size() < 10 && text[0] >= '0' && text[0] <= '9') {
    const long long value = std::strtoll(text.c_str(), &end, 10);
    const long long unit = std::string_view(end) == "d" ? 86400 : std::string_view(end) == "h" ? 3600 : 0;
    return unit ? vz::Result<std::int64_t>(now - value * unit) : bad();
  }
  for (const char* format : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"}) {
    std::tm local{};
    const char* rest = ::strptime(text.c_str(), format, &local);
    if (!rest || *rest != '\0') continue;
    std::tm checked = local;
    checked.tm_isdst = -1;
    const std::time_t time = std::mktime(&checked);
    // mktime makes the 2nd of March out of the 30th of February.
    if (time != -1 && checked.tm_mday == local.tm_mday) return std::int64_t{time};
  }
  return bad();
}

std::span<const Option> vzstat_options() { return kOptions; }

vz::Result<int> run_vzstat(FaceCall& call) {
  const Options& o = call.options;
  if (o.has("--record")) {
    VZ_TRY(vz::record_usage(call.host, call.reporter));
    return 0;
  }
  const std::int64_t now = std::time(nullptr);
  Format format = VZ_TRY(chosen_format(o));
  const std::string* from = o.last("--since");
  const std::string* to = o.last("--until");
  std::int64_t since = from ? VZ_TRY(parse_moment(*from, now)) : 0;
  auto until = to ? std::optional(VZ_TRY(parse_moment(*to, now))) : std::nullopt;
  auto periods = VZ_TRY(periods_of(call, since, until));
  if (format == Format::table) {
    VZ_TRY(put(to_text(text_table(periods), {.fit = true})));
    return 0;
  }
  if (format == Format::csv) {
    VZ_TRY(put(to_csv(csv_table(periods), true)));
    return 0;
  }
  Value::List list;
  for (const auto& p : periods) list.push_back(period_value(p));
  Value report = Value::Object{{"since", since}, {"until", until.value_or(now)}, {"containers", std::move(list)}};
  VZ_TRY(put(to_structured(report, format)));
  return 0;
}

}  // namespace vzctl

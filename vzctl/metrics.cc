// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl metrics: everything that is counted, for monitoring.
#include "vzctl/metrics.h"

#include <cmath>
#include <functional>
#include <optional>

#include <fmt/format.h>

#include <vz/beancounters.h>
#include <vz/container.h>
#include <vz/migrate.h>
#include <vz/pressure.h>
#include <vz/quota.h>
#include <vz/usage.h>
#include <vz/version.h>
#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {

namespace {

using Type = MetricText::Type;
using Labels = MetricText::Labels;
using Number = std::optional<std::uint64_t>;

// What is known of a running container; `usage` also of stopped ones.
struct Running {
  vz::Ctid id;
  std::string name;
  vz::Sample sample;
  vz::Pressure pressure;
  std::optional<vz::UbSnapshot> beancounters;
  vz::QuotaEventCounts quota_events;
};

struct Snapshot {
  std::vector<vz::ContainerInfo> containers;
  std::vector<Running> running;
  std::vector<vz::UsageReport> usage;
  std::vector<vz::MigrationStatus> migrations;
};

std::vector<vz::UbSnapshot> read_beancounters(const vz::Host& host, const std::vector<vz::Ctid>& ids) {
  auto all = vz::Beancounters::open(host);
  auto rows = all ? all->read(ids) : vz::fail(std::move(all).error());
  return rows ? *std::move(rows) : std::vector<vz::UbSnapshot>();
}

vz::Result<Snapshot> read_snapshot(const vz::Host& host) {
  Snapshot out;
  out.containers = VZ_TRY(vz::list_containers(host, true));
  out.usage = VZ_TRY(vz::read_usage(host, true));
  out.migrations = vz::list_migrations(host);
  std::vector<vz::ContainerInfo> running;
  std::vector<vz::Ctid> ids;
  for (const auto& ct : out.containers) {
    if (!ct.status.running) continue;
    running.push_back(ct);
    ids.push_back(ct.id);
  }
  auto samples = vz::sample_containers(host, running, vz::Readings::all());
  auto pressures = vz::read_pressure(ids);
  auto beancounters = read_beancounters(host, ids);
  for (size_t i = 0; i < ids.size(); ++i)
    out.running.push_back({ids[i], running[i].config.get("NAME").value_or(""), samples[i], pressures[i],
                           i < beancounters.size() ? std::optional(beancounters[i]) : std::nullopt,
                           vz::read_quota_events(host, ids[i]).value_or(vz::QuotaEventCounts{})});
  return out;
}

Labels of(vz::Ctid id, Labels more = {}) {
  more.insert(more.begin(), {"ctid", std::to_string(id.value())});
  return more;
}

void add_containers(MetricText& text, const Snapshot& s) {
  text.family("vz_build", Type::info, "", "Version of vz.");
  text.add({{"version", VZ_VERSION_STRING}}, std::uint64_t{1});
  text.family("vz_container", Type::info, "", "Containers with their names.");
  for (const auto& ct : s.containers)
    text.add(of(ct.id, {{"name", ct.config.get("NAME").value_or("")}}), std::uint64_t{1});
  text.family("vz_container_running", Type::gauge, "", "1: the container runs.");
  for (const auto& ct : s.containers) text.add(of(ct.id), std::uint64_t{ct.status.running});
}

void add_migrations(MetricText& text, const Snapshot& s) {
  text.family("vz_migration", Type::gauge, "",
              "1: a migration is in that phase, or was left in it (vzctl migrate --resolve).");
  for (const auto& m : s.migrations) text.add(of(m.id, {{"side", m.side}, {"phase", m.phase}}), std::uint64_t{1});
}

void add_usage(MetricText& text, const Snapshot& s) {
  auto seconds = [&](const char* name, std::uint64_t vz::Usage::*member, const char* help) {
    text.family(name, Type::counter, "seconds", help);
    for (const auto& u : s.usage) text.add_nanoseconds(of(u.id), u.usage.*member);
  };
  seconds("vz_cpu_seconds", &vz::Usage::cpu_ns, "CPU time of all runs.");
  seconds("vz_cpu_user_seconds", &vz::Usage::cpu_user_ns, "CPU time in user mode.");
  seconds("vz_cpu_system_seconds", &vz::Usage::cpu_system_ns, "CPU time in the kernel.");
  text.family("vz_run_seconds", Type::counter, "seconds", "Time that the container ran, sampled.");
  for (const auto& u : s.usage) text.add(of(u.id), u.usage.run_s);
  text.family("vz_ram_byte_seconds", Type::counter, "", "RAM held, summed over time, sampled.");
  for (const auto& u : s.usage) text.add(of(u.id), static_cast<double>(u.usage.ram_kib_s) * 1024);
  text.family("vz_swap_byte_seconds", Type::counter, "", "Swap held, summed over time, sampled.");
  for (const auto& u : s.usage) text.add(of(u.id), static_cast<double>(u.usage.swap_kib_s) * 1024);
  text.family("vz_io_bytes", Type::counter, "bytes", "Bytes read from and written to disks.");
  for (const auto& u : s.usage) {
    text.add(of(u.id, {{"direction", "read"}}), u.usage.read_bytes);
    text.add(of(u.id, {{"direction", "write"}}), u.usage.written_bytes);
  }
  text.family("vz_io_operations", Type::counter, "", "Requests to disks.");
  for (const auto& u : s.usage) {
    text.add(of(u.id, {{"direction", "read"}}), u.usage.reads);
    text.add(of(u.id, {{"direction", "write"}}), u.usage.writes);
  }
}

// Classes that were never used are left out.
void add_traffic(MetricText& text, const vz::UsageReport& u, std::uint64_t vz::TrafficCount::*member) {
  const vz::Traffic& t = u.usage.traffic;
  auto add = [&](const vz::TrafficCount& c, const char* family, std::string traffic_class, const char* direction) {
    if (c.packets == 0) return;
    text.add(of(u.id, {{"family", family}, {"class", std::move(traffic_class)}, {"direction", direction}}), c.*member);
  };
  for (unsigned i = 0; i < vz::kTrafficClasses; ++i) {
    add(t.ip4_in[i], "ipv4", std::to_string(i), "in");
    add(t.ip4_out[i], "ipv4", std::to_string(i), "out");
    add(t.ip6_in[i], "ipv6", std::to_string(i), "in");
    add(t.ip6_out[i], "ipv6", std::to_string(i), "out");
  }
  add(t.other_in, "other", "", "in");
  add(t.other_out, "other", "", "out");
}

void add_network(MetricText& text, const Snapshot& s) {
  text.family("vz_network_bytes", Type::counter, "bytes", "Bytes by class of the peer's network, with IP headers.");
  for (const auto& u : s.usage) add_traffic(text, u, &vz::TrafficCount::bytes);
  text.family("vz_network_packets", Type::counter, "", "Packets by class of the peer's network.");
  for (const auto& u : s.usage) add_traffic(text, u, &vz::TrafficCount::packets);
}

struct Reading {
  const char* name;
  Type type;
  const char* unit;
  Number vz::Sample::*member;
  const char* help;
};
constexpr Reading kReadings[] = {
    {"vz_ram_bytes", Type::gauge, "bytes", &vz::Sample::ram_held, "RAM held, with page cache."},
    {"vz_ram_peak_bytes", Type::gauge, "bytes", &vz::Sample::ram_max, "Most RAM held since the start."},
    {"vz_ram_limit_bytes", Type::gauge, "bytes", &vz::Sample::ram_limit, "RAM promised."},
    {"vz_ram_limit_hits", Type::counter, "", &vz::Sample::ram_fail, "How often the limit of RAM was hit."},
    {"vz_swap_bytes", Type::gauge, "bytes", &vz::Sample::swap_held, "Swap held."},
    {"vz_swap_limit_bytes", Type::gauge, "bytes", &vz::Sample::swap_limit, "Swap promised."},
    {"vz_kernel_memory_bytes", Type::gauge, "bytes", &vz::Sample::kmem_held, "Memory that the kernel holds for it."},
    {"vz_private_memory_bytes", Type::gauge, "bytes", &vz::Sample::privvm_held, "Private mappings."},
    {"vz_processes", Type::gauge, "", &vz::Sample::numproc, "Processes and threads."},
    {"vz_processes_limit", Type::gauge, "", &vz::Sample::numproc_limit, "Most processes and threads."},
    {"vz_oom_kills", Type::counter, "", &vz::Sample::oom_kills, "Processes killed for want of memory."},
    {"vz_disk_used_bytes", Type::gauge, "bytes", &vz::Sample::disk_used, "Disk space used."},
    {"vz_disk_size_bytes", Type::gauge, "bytes", &vz::Sample::disk_total, "Disk space promised."},
    {"vz_inodes_used", Type::gauge, "", &vz::Sample::inodes_used, "Inodes used."},
    {"vz_inodes_limit", Type::gauge, "", &vz::Sample::inodes_total, "Inodes promised."},
};

void add_number(MetricText& text, const Labels& labels, std::uint64_t value) {
  value == vz::Limit::kUnlimited ? text.add(labels, HUGE_VAL) : text.add(labels, value);
}

void add_readings(MetricText& text, const Snapshot& s) {
  for (const Reading& r : kReadings) {
    text.family(r.name, r.type, r.unit, r.help);
    for (const auto& ct : s.running)
      if (auto value = ct.sample.*r.member) add_number(text, of(ct.id), *value);
  }
}

using EachStall = std::function<void(const Labels&, const vz::Stall&)>;

void each_stall(const Labels& of_whom, const vz::Pressure& p, const EachStall& call) {
  for (auto [resource, stalls] : {std::pair("cpu", &p.cpu), std::pair("memory", &p.memory), std::pair("io", &p.io)})
    for (auto [kind, stall] : {std::pair("some", &stalls->some), std::pair("full", &stalls->full)}) {
      if (!*stall) continue;
      Labels labels = of_whom;
      labels.emplace_back("resource", resource);
      labels.emplace_back("kind", kind);
      call(labels, **stall);
    }
}

void add_pressure(MetricText& text, const Snapshot& s) {
  auto all = [&](const EachStall& call) {
    for (const auto& ct : s.running) each_stall(of(ct.id), ct.pressure, call);
  };
  text.family("vz_pressure_seconds", Type::counter, "seconds", "Time that some or all tasks waited (PSI).");
  all([&](const Labels& l, const vz::Stall& stall) { text.add_nanoseconds(l, stall.total_us * 1000); });
  text.family("vz_pressure_ratio", Type::gauge, "ratio", "Share of the last 10 seconds that was waited (PSI).");
  all([&](const Labels& l, const vz::Stall& stall) { text.add(l, stall.avg10 / 100); });
  text.family("vz_host_pressure_seconds", Type::counter, "seconds", "The same for the whole host.");
  each_stall({}, vz::read_host_pressure(),
             [&](const Labels& l, const vz::Stall& stall) { text.add_nanoseconds(l, stall.total_us * 1000); });
}

void add_beancounters(MetricText& text, const Snapshot& s) {
  auto all = [&](const char* name, Type type, const char* help, auto value_of) {
    text.family(name, type, "", help);
    for (const auto& ct : s.running) {
      if (!ct.beancounters) continue;
      for (const auto& resource : vz::ub_resources()) {
        if (!vz::ub_is_real(resource)) continue;
        Number value = value_of((*ct.beancounters)[resource.id]);
        if (value) add_number(text, of(ct.id, {{"resource", resource.name}}), *value);
      }
    }
  };
  using Row = const vz::UbCounter&;
  all("vz_beancounter_held", Type::gauge, "Bytes, pages of 4 KiB or objects held.", [](Row r) { return r.held; });
  all("vz_beancounter_maxheld", Type::gauge, "Most that was ever held.", [](Row r) { return r.maxheld; });
  all("vz_beancounter_barrier", Type::gauge, "Barrier.", [](Row r) { return Number(r.barrier); });
  all("vz_beancounter_limit", Type::gauge, "Limit.", [](Row r) { return Number(r.limit); });
  all("vz_beancounter_failures", Type::counter, "How often more was refused (failcnt).",
      [](Row r) { return r.failcnt; });
}

void add_quota_events(MetricText& text, const Snapshot& s) {
  text.family("vz_quota_events", Type::counter, "",
              "Disk limits met since the start, by users inside too, as vzd heard.");
  for (const auto& ct : s.running)
    for (auto [event, count] : {std::pair("soft", ct.quota_events.soft), std::pair("grace", ct.quota_events.grace),
                                std::pair("hard", ct.quota_events.hard)})
      text.add(of(ct.id, {{"event", event}}), count);
}

// Lead and continuation bytes fit; nobody reads the code points, so long forms need not be told apart.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    int more = lead < 0x80 ? 0 : lead >= 0xc2 && lead < 0xe0 ? 1 : lead >= 0xe0 && lead < 0xf0 ? 2 : 3;
    if (lead >= 0xf5 || (lead >= 0x80 && lead < 0xc2)) return false;
    for (; more > 0; --more)
      if (i >= text.size() || (static_cast<unsigned char>(text[i++]) & 0xc0) != 0x80) return false;
  }
  return true;
}

const char* type_name(Type type) { return type == Type::counter ? "counter" : type == Type::gauge ? "gauge" : "info"; }

}  // namespace

// A name is what somebody wrote into a file. Whatever it is, the text stays UTF-8 and one line.
std::string escape_label(std::string_view value) {
  const bool valid = is_utf8(value);
  std::string out;
  for (char c : printable(value)) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += valid || static_cast<unsigned char>(c) < 0x80 ? c : '?';
  }
  return out;
}

void MetricText::family(const char* name, Type type, const char* unit, const char* help) {
  text_ += fmt::format("# TYPE {} {}\n", name, type_name(type));
  if (*unit) text_ += fmt::format("# UNIT {} {}\n", name, unit);
  text_ += fmt::format("# HELP {} {}\n", name, help);
  sample_name_ = std::string(name) + (type == Type::counter ? "_total" : type == Type::info ? "_info" : "");
}

void MetricText::sample(const Labels& labels, std::string value) {
  text_ += sample_name_;
  const char* before = "{";
  for (const auto& [name, text] : labels) {
    text_ += fmt::format("{}{}=\"{}\"", before, name, escape_label(text));
    before = ",";
  }
  text_ += fmt::format("{} {}\n", labels.empty() ? "" : "}", value);
}

void MetricText::add(const Labels& labels, std::uint64_t value) { sample(labels, std::to_string(value)); }
void MetricText::add(const Labels& labels, double value) {
  sample(labels, std::isinf(value) ? "+Inf" : fmt::format("{}", value));
}
void MetricText::add_nanoseconds(const Labels& labels, std::uint64_t ns) {
  sample(labels, fmt::format("{}.{:09}", ns / 1000000000, ns % 1000000000));
}
std::string MetricText::finish() && { return std::move(text_) + "# EOF\n"; }

vz::Result<std::string> render_metrics(const vz::Host& host) {
  Snapshot s = VZ_TRY(read_snapshot(host));
  MetricText text;
  add_containers(text, s);
  add_migrations(text, s);
  add_usage(text, s);
  add_network(text, s);
  add_readings(text, s);
  add_pressure(text, s);
  add_beancounters(text, s);
  add_quota_events(text, s);
  return std::move(text).finish();
}

int run_metrics(Invocation& call) {
  auto text = render_metrics(*call.host);
  if (!text) return finish(call.reporter, text.error());
  return finish(call.reporter, put(*text));
}

}  // namespace vzctl

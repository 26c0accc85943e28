// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/usage_record.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/base/random.h"
#include "libvz/container/usage_json.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

using Json = nlohmann::json;

// When a run ended is not known, only that it has: somebody looks every few minutes.
constexpr std::uint64_t kLongestTail = 3600;

std::string record_path(const Host& host, Ctid id) { return usage_dir(host, id) + "/record.json"; }

std::uint64_t growth(std::uint64_t now, std::uint64_t before) { return now > before ? now - before : 0; }

TrafficCount growth(const TrafficCount& now, const TrafficCount& before) {
  return {growth(now.bytes, before.bytes), growth(now.packets, before.packets)};
}

Traffic growth(const Traffic& now, const Traffic& before) {
  Traffic d;
  for (unsigned i = 0; i < kTrafficClasses; ++i) {
    d.ip4_in[i] = growth(now.ip4_in[i], before.ip4_in[i]);
    d.ip4_out[i] = growth(now.ip4_out[i], before.ip4_out[i]);
    d.ip6_in[i] = growth(now.ip6_in[i], before.ip6_in[i]);
    d.ip6_out[i] = growth(now.ip6_out[i], before.ip6_out[i]);
  }
  d.other_in = growth(now.other_in, before.other_in);
  d.other_out = growth(now.other_out, before.other_out);
  return d;
}

void add(Traffic& to, const Traffic& d) {
  for (unsigned i = 0; i < kTrafficClasses; ++i) {
    to.ip4_in[i] += d.ip4_in[i];
    to.ip4_out[i] += d.ip4_out[i];
    to.ip6_in[i] += d.ip6_in[i];
    to.ip6_out[i] += d.ip6_out[i];
  }
  to.other_in += d.other_in;
  to.other_out += d.other_out;
}

void advance_traffic(UsageRecord& r, const LiveUsage& live) {
  if (live.traffic_map == 0) return;
  const bool same = r.seen.boot_id == live.boot_id && r.seen.traffic_map == live.traffic_map;
  add(r.total.traffic, growth(live.traffic, same ? r.seen.traffic : Traffic()));
  r.seen.traffic = live.traffic;
  r.seen.traffic_map = live.traffic_map;
}

void advance_cpu(UsageRecord& r, const LiveUsage& live) {
  if (!live.cpu) return;
  r.total.cpu_ns += growth(live.cpu->total, r.seen.cpu.total);
  r.total.cpu_user_ns += growth(live.cpu->user, r.seen.cpu.user);
  r.total.cpu_system_ns += growth(live.cpu->system, r.seen.cpu.system);
  r.seen.cpu = *live.cpu;
}

void advance_io(UsageRecord& r, const LiveUsage& live) {
  for (const auto& [device, now] : live.io) {
    auto& before = r.seen.io[device];
    r.total.read_bytes += growth(now.read_bytes, before.read_bytes);
    r.total.written_bytes += growth(now.written_bytes, before.written_bytes);
    r.total.reads += growth(now.reads, before.reads);
    r.total.writes += growth(now.writes, before.writes);
    before = now;
  }
}

// Each sample stands for the time until the next one, so that a sum that was shown in between never falls. A run's
// first stands for the time before it too, and a run without any is taken at its peak.
void advance_memory(UsageRecord& r, const LiveUsage& live, bool same_run) {
  std::uint64_t seconds = growth(live.now_s, same_run ? r.seen.at_s : live.started_s);
  if (same_run && r.seen.ended) seconds = 0;
  if (live.ended) seconds = std::min(seconds, kLongestTail);
  const HeldMemory held = same_run ? r.seen.memory : live.ended ? live.peak : live.memory;
  r.total.run_s += seconds;
  r.total.ram_kib_s += held.ram_kib * seconds;
  r.total.swap_kib_s += held.swap_kib * seconds;
  r.seen.ended = live.ended;
  r.seen.memory = live.ended ? HeldMemory() : live.memory;
}

Json seen_to_json(const SeenUsage& s) {
  Json io = Json::object();
  for (const auto& [device, c] : s.io) io[device] = {c.read_bytes, c.written_bytes, c.reads, c.writes};
  return {{"boot_id", s.boot_id},
          {"group", s.group},
          {"traffic_map", s.traffic_map},
          {"at_s", s.at_s},
          {"ended", s.ended},
          {"cpu_ns", s.cpu.total},
          {"cpu_user_ns", s.cpu.user},
          {"cpu_system_ns", s.cpu.system},
          {"io", std::move(io)},
          {"ram_kib", s.memory.ram_kib},
          {"swap_kib", s.memory.swap_kib},
          {"traffic", traffic_to_json(s.traffic)}};
}

bool io_from_json(const Json& json, IoByDevice& out) {
  if (!json.is_object()) return false;
  for (const auto& [device, counts] : json.items()) {
    if (!counts.is_array() || counts.size() != 4) return false;
    for (const auto& n : counts)
      if (!n.is_number_unsigned()) return false;
    out[device] = {counts[0].get<std::uint64_t>(), counts[1].get<std::uint64_t>(), counts[2].get<std::uint64_t>(),
                   counts[3].get<std::uint64_t>()};
  }
  return true;
}

bool string_from_json(const Json& json, const char* name, std::string& out) {
  auto found = json.find(name);
  if (found == json.end()) return true;
  if (!found->is_string()) return false;
  out = found->get<std::string>();
  return true;
}

bool seen_from_json(const Json& json, SeenUsage& s) {
  std::uint64_t map = 0;
  if (!json.is_object() || !string_from_json(json, "boot_id", s.boot_id)) return false;
  for (auto [name, number] : {std::pair("group", &s.group), std::pair("traffic_map", &map), std::pair("at_s", &s.at_s),
                              std::pair("cpu_ns", &s.cpu.total), std::pair("cpu_user_ns", &s.cpu.user),
                              std::pair("cpu_system_ns", &s.cpu.system), std::pair("ram_kib", &s.memory.ram_kib),
                              std::pair("swap_kib", &s.memory.swap_kib)})
    if (!number_from_json(json, name, *number)) return false;
  s.traffic_map = static_cast<std::uint32_t>(map);
  auto ended = json.find("ended");
  if (ended != json.end() && !ended->is_boolean()) return false;
  s.ended = ended != json.end() && ended->get<bool>();
  auto io = json.find("io"), traffic = json.find("traffic");
  return (io == json.end() || io_from_json(*io, s.io)) &&
         (traffic == json.end() || traffic_from_json(*traffic, s.traffic));
}

tl::unexpected<Error> damaged(const std::string& path, const std::string& why) {
  return fail(Error(Code::bad_config, path + ": " + why)
                  .with_hint("move the file away: the container is then counted from zero, as a new series"));
}

}  // namespace

void advance(UsageRecord& r, const LiveUsage& live) {
  advance_traffic(r, live);
  const bool same_boot = r.seen.boot_id == live.boot_id;
  if (live.group != 0) {
    const bool same_run = same_boot && r.seen.group == live.group;
    if (!same_run) {
      r.seen.cpu = {};
      r.seen.io.clear();
    }
    advance_cpu(r, live);
    advance_io(r, live);
    advance_memory(r, live, same_run);
    r.seen.group = live.group;
    r.seen.at_s = live.now_s;
  } else if (!same_boot) {
    r.seen.group = 0;
  }
  if (!same_boot && live.traffic_map == 0) r.seen.traffic_map = 0;
  r.seen.boot_id = live.boot_id;
}

std::string usage_dir(const Host& host, Ctid id) { return host.paths().lib + "/usage/" + id.str(); }

UsageRecord new_usage_record(Ctid id, std::int64_t now) {
  UsageRecord r;
  r.id = id;
  r.series = random_hex(8);
  r.created = now;
  return r;
}

std::string usage_record_text(const UsageRecord& r) {
  Json json = {{"version", UsageRecord::kVersion},
               {"id", r.id.value()},
               {"series", r.series},
               {"created", r.created},
               {"updated", r.updated},
               {"total", usage_to_json(r.total)},
               {"seen", seen_to_json(r.seen)}};
  return json.dump(1) + "\n";
}

Result<UsageRecord> parse_usage_record(const std::string& text, const std::string& path) {
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return damaged(path, "not a JSON object");
  std::uint64_t version = 0, id = 0, created = 0, updated = 0;
  if (!number_from_json(json, "version", version) || version != UsageRecord::kVersion)
    return damaged(path, fmt::format("version {} is not one that this vzctl knows", version));
  UsageRecord r;
  bool good = number_from_json(json, "id", id) && number_from_json(json, "created", created) &&
              number_from_json(json, "updated", updated) && string_from_json(json, "series", r.series) &&
              json.contains("total") && usage_from_json(json["total"], r.total) && json.contains("seen") &&
              seen_from_json(json["seen"], r.seen);
  if (!good || id > UINT32_MAX || r.series.empty()) return damaged(path, "a field is missing or of the wrong type");
  r.id = Ctid(static_cast<std::uint32_t>(id));
  r.created = static_cast<std::int64_t>(created);
  r.updated = static_cast<std::int64_t>(updated);
  return r;
}

Result<std::optional<UsageRecord>> load_usage_record(const Host& host, Ctid id) {
  auto path = record_path(host, id);
  auto text = read_file(path);
  if (!text && text.error().sys_errno() == ENOENT) return std::optional<UsageRecord>();
  if (!text) return fail(std::move(text).error());
  auto record = VZ_TRY(parse_usage_record(*text, path));
  if (record.id != id) return damaged(path, "it is the record of container " + record.id.str());
  return std::optional(std::move(record));
}

Result<> save_usage_record(const Host& host, const UsageRecord& record) {
  VZ_TRY(make_dirs(usage_dir(host, record.id), 0700));
  return replace_file(record_path(host, record.id), usage_record_text(record), 0600);
}

Usage operator-(const Usage& later, const Usage& earlier) {
  Usage d;
  d.run_s = growth(later.run_s, earlier.run_s);
  d.cpu_ns = growth(later.cpu_ns, earlier.cpu_ns);
  d.cpu_user_ns = growth(later.cpu_user_ns, earlier.cpu_user_ns);
  d.cpu_system_ns = growth(later.cpu_system_ns, earlier.cpu_system_ns);
  d.read_bytes = growth(later.read_bytes, earlier.read_bytes);
  d.written_bytes = growth(later.written_bytes, earlier.written_bytes);
  d.reads = growth(later.reads, earlier.reads);
  d.writes = growth(later.writes, earlier.writes);
  d.ram_kib_s = growth(later.ram_kib_s, earlier.ram_kib_s);
  d.swap_kib_s = growth(later.swap_kib_s, earlier.swap_kib_s);
  d.traffic = growth(later.traffic, earlier.traffic);
  return d;
}

}  // namespace vz

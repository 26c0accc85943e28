// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/usage.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "libvz/container/state.h"
#include "libvz/container/traffic.h"
#include "libvz/container/usage_journal.h"
#include "libvz/container/usage_keep.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/rename.h"

namespace vz {

namespace {

constexpr std::int64_t kHour = 3600;

std::int64_t wall_clock() { return std::time(nullptr); }

std::string name_of(const Host& host, Ctid id) {
  auto config = host.load(id);
  return config ? config->get("NAME").value_or("") : "";
}

bool nothing_of_it(const LiveUsage& live) { return live.group == 0 && live.traffic_map == 0; }

// A damaged record is moved aside: what it held can still be read by people, and counting goes on.
Result<std::optional<UsageRecord>> load_or_set_aside(const Host& host, Ctid id, Reporter& reporter) {
  auto record = load_usage_record(host, id);
  if (record || record.error().code() != Code::bad_config) return record;
  const std::string path = usage_dir(host, id) + "/record.json";
  const std::string aside = fmt::format("{}.damaged-{}", path, wall_clock());
  VZ_TRY(rename_durably(path, aside));
  reporter.warn(fmt::format("Warning: usage of container {}: {}; it is now {} and counting begins at zero", id.str(),
                            record.error().message(), aside));
  return std::optional<UsageRecord>();
}

// Containers that have a configuration, a record, or both.
Result<std::vector<Ctid>> known_containers(const Host& host) {
  std::set<Ctid> ids;
  for (Ctid id : VZ_TRY(host.containers())) ids.insert(id);
  auto names = list_dir(host.paths().lib + "/usage");
  for (const auto& name : names ? *names : std::vector<std::string>())
    if (auto id = Ctid::parse(name); id && id->value() != 0) ids.insert(*id);
  return std::vector<Ctid>(ids.begin(), ids.end());
}

UsageReport report_of(const Host& host, const UsageRecord& r, bool running) {
  return {r.id, name_of(host, r.id), r.series, r.created, running, r.total};
}

// The record as it would be written now. A container that has just been started for the first time has none.
Result<UsageRecord> present_record(const Host& host, const UsageSources& sources, Ctid id) {
  auto record = VZ_TRY(load_usage_record(host, id));
  UsageRecord r = record ? *std::move(record) : new_usage_record(id, wall_clock());
  if (!record) r.series = "unrecorded-" + id.str();
  const LiveUsage live = read_live_usage(host, sources, id);
  const std::uint64_t run_s = r.total.run_s, ram = r.total.ram_kib_s, swap = r.total.swap_kib_s;
  const bool sampled = live.group != 0 && r.seen.group == live.group && r.seen.boot_id == live.boot_id;
  advance(r, live);
  // Before the first sample of a run nothing is known of what it held; what were shown now could fall later.
  if (!sampled) {
    r.total.run_s = run_s;
    r.total.ram_kib_s = ram;
    r.total.swap_kib_s = swap;
  }
  return r;
}

bool runs(const Host& host, Ctid id, const std::string& boot_id) {
  auto init = running_init(host, id, boot_id);
  return init && init->has_value();
}

JournalEntry entry_of(const Host& host, const UsageRecord& r, std::int64_t now) {
  return {now, r.id, name_of(host, r.id), r.series, r.created, false, r.total};
}

// What usage_between() has to know of one series.
struct Series {
  std::optional<JournalEntry> before, last;  // the last ones up to `since` and up to `until`
};

// Only when the run's groups are gone and no later run has any: what is not certain to be missing is not added.
void advance_by_sample(UsageRecord& r, const LiveUsage& live, const RunSample& last) {
  const bool gone = live.group == 0 || (live.group == last.group && !live.cpu);
  if (last.group == 0 || last.boot_id != live.boot_id || !gone) return;
  LiveUsage sample;
  sample.boot_id = last.boot_id;
  sample.group = last.group;
  sample.now_s = last.now_s;
  sample.started_s = last.started_s;
  sample.ended = true;
  sample.cpu = last.cpu;
  sample.io = last.io;
  sample.memory = sample.peak = last.memory;
  advance(r, sample);
}

bool used_anything(const Usage& u) { return !(u == Usage()); }

}  // namespace

RunSample sample_run(const Host& host, const UsageSources& sources, Ctid id) {
  LiveUsage live = read_live_usage(host, sources, id);
  return {live.boot_id, live.group, live.now_s, live.started_s, live.cpu, std::move(live.io), live.memory};
}

Result<std::optional<UsageRecord>> keep_usage(const Host& host, const UsageSources& sources, Ctid id,
                                              Reporter& reporter, const RunSample* last) {
  const std::string dir = usage_dir(host, id);
  if (!exists(dir)) {
    if (!last && nothing_of_it(read_live_usage(host, sources, id))) return std::optional<UsageRecord>();
    VZ_TRY(make_dirs(dir, 0700));
  }
  reporter.step("usage.read");
  auto lock = VZ_TRY(lock_file(dir + "/lock"));
  auto found = VZ_TRY(load_or_set_aside(host, id, reporter));
  const LiveUsage live = read_live_usage(host, sources, id);
  if (!found && !last && nothing_of_it(live)) return found;
  UsageRecord record = found ? *found : new_usage_record(id, wall_clock());
  if (last) advance_by_sample(record, live, *last);
  advance(record, live);
  // Steps that are always there, whether a tick has passed since the last time or not: tests kill at each of them.
  reporter.step("usage.save");
  if (!found || usage_record_text(record) != usage_record_text(*found)) {
    record.updated = wall_clock();
    VZ_TRY(save_usage_record(host, record));
    found = std::move(record);
  }
  reporter.step("usage.saved");
  return found;
}

void keep_last_usage(const Host& host, Ctid id, Reporter& reporter, const RunSample* last) {
  auto sources = UsageSources::open();
  auto kept = sources ? keep_usage(host, *sources, id, reporter, last) : fail(std::move(sources).error());
  if (!kept) reporter.warn("Warning: usage is not kept: " + kept.error().message());
}

void end_usage(const Host& host, Ctid id, const std::string& name, Reporter& reporter) {
  auto record = load_usage_record(host, id);
  if (record && *record) {
    const std::int64_t now = wall_clock();
    JournalEntry last{now, id, name, (*record)->series, (*record)->created, true, (*record)->total};
    if (auto done = append_journal(host, {last}, now); !done)
      reporter.warn("Warning: usage journal: " + done.error().message());
  }
  forget_traffic(id);
  if (auto removed = remove_tree(usage_dir(host, id)); !removed)
    reporter.warn("Warning: usage record: " + removed.error().message());
}

namespace {

// Where systemd may take the groups of a container that ends before we can read them: what was told once counts.
void keep_what_is_told(const Host& host, const UsageSources& sources) {
  if (sources.cgroups.systemd_manages) vzd_sample(host.paths().run);
}

}  // namespace

Result<UsageReport> read_usage(const Host& host, Ctid id) {
  auto sources = VZ_TRY(UsageSources::open());
  auto record = VZ_TRY(present_record(host, sources, id));
  keep_what_is_told(host, sources);
  return report_of(host, record, runs(host, id, sources.boot_id));
}

Result<std::vector<UsageReport>> read_usage(const Host& host, bool all) {
  auto sources = VZ_TRY(UsageSources::open_for_all());
  std::vector<UsageReport> out;
  for (Ctid id : VZ_TRY(known_containers(host))) {
    const bool running = runs(host, id, sources.boot_id);
    if (!running && (!all || !exists(usage_dir(host, id)))) continue;
    // One damaged record hides one container, not all of them.
    if (auto record = present_record(host, sources, id)) out.push_back(report_of(host, *record, running));
  }
  keep_what_is_told(host, sources);
  return out;
}

Result<> record_usage(const Host& host, Reporter& reporter) {
  auto sources = VZ_TRY(UsageSources::open());
  const std::int64_t now = wall_clock(), last = last_round(host);
  const bool round = now / kHour != last / kHour;
  std::vector<JournalEntry> entries;
  for (Ctid id : VZ_TRY(known_containers(host))) {
    auto record = keep_usage(host, sources, id, reporter);
    if (!record)
      reporter.warn(fmt::format("Warning: usage of container {}: {}", id.str(), record.error().message()));
    else if (round && *record && (*record)->updated >= last)
      entries.push_back(entry_of(host, **record, now));
  }
  if (!round) return {};
  reporter.step("record.journal");
  VZ_TRY(append_journal(host, entries, now));
  reporter.step("record.tidy");
  VZ_TRY(tidy_journal(host, now));
  reporter.step("record.round");
  return save_last_round(host, now);
}

Result<std::vector<UsagePeriod>> usage_between(const Host& host, std::int64_t since,
                                               std::optional<std::int64_t> until) {
  const std::int64_t end = until.value_or(wall_clock());
  if (since > end) return fail(Code::bad_value, "the period ends before it begins");
  std::map<std::string, Series> all;
  auto see = [&](const JournalEntry& e) {
    if (e.time > end) return;
    auto& s = all[e.series];
    if (e.time <= since && (!s.before || s.before->time <= e.time)) s.before = e;
    if (!s.last || s.last->time <= e.time) s.last = e;
  };
  VZ_TRY(read_journal(host, see));
  if (!until)
    for (const auto& r : VZ_TRY(read_usage(host, true))) see({end, r.id, r.name, r.series, r.since, false, r.usage});
  std::vector<UsagePeriod> out;
  for (const auto& [series, s] : all) {
    if (!s.last || s.last->time <= since) continue;
    UsagePeriod p{s.last->id, s.last->name, series, 0, s.last->time, s.last->destroyed, {}};
    p.from = s.before ? s.before->time : s.last->created;
    p.usage = s.last->usage - (s.before ? s.before->usage : Usage());
    if (used_anything(p.usage) || p.destroyed) out.push_back(std::move(p));
  }
  std::sort(out.begin(), out.end(),
            [](const UsagePeriod& a, const UsagePeriod& b) { return std::tie(a.id, a.from) < std::tie(b.id, b.from); });
  return out;
}

}  // namespace vz

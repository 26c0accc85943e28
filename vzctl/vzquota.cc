// SPDX-License-Identifier: GPL-2.0-or-later
// vzquota: the disk limit of a container, read and set as OpenVZ's tool did.
#include <ctime>

#include <fmt/format.h>

#include <vz/container.h>
#include <vz/quota.h>
#include "vzctl/face.h"
#include "vzctl/format.h"
#include "vzctl/quota_text.h"

namespace vzctl {
namespace {

constexpr Option kOptions[] = {
    {"-t,--details", nullptr, "stat, show: users and groups inside, too"},
    {"-b,--block-softlimit", "KIB", "setlimit: soft limit of space"},
    {"-B,--block-hardlimit", "KIB", "setlimit: hard limit of space"},
    {"-i,--inode-softlimit", "N", "setlimit: soft limit of files"},
    {"-I,--inode-hardlimit", "N", "setlimit: hard limit of files"},
    {"-e,--block-exptime", "SECONDS", "setlimit: how long the soft limit of space may be exceeded"},
    {"-n,--inode-exptime", "SECONDS", nullptr},
    {"-p,--path", "PATH", nullptr},
    {"-c,--quota-file", "FILE", nullptr},
    {"-s,--sub-quotas", "0|1", nullptr},
    {"-u,--ugid-limit", "N", "setlimit: users and groups that may have quotas of their own; 0 switches them off"},
    {"-f,--force", nullptr, nullptr},
    {"-F,--force-counting", nullptr, nullptr},
    {"-R,--recalc-enforce", nullptr, nullptr},
    {"-g,--user-grouptime", "SECONDS", nullptr},
    {"--nocheck", nullptr, nullptr},
    {"-q,--batch", nullptr, nullptr},
    {"-v,--verbose", nullptr, nullptr},
};

struct Level {
  std::uint64_t used = 0, soft = 0, hard = 0;
};

std::string row(std::string_view name, std::string_view usage, std::string_view soft, std::string_view hard,
                std::string_view grace) {
  std::string line = fmt::format("{:>11} {:>14}  {:>14} {:>14} {:>8}", name, usage, soft, hard, grace);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string row(std::string_view name, const Level& level) {
  return row(name, std::to_string(level.used), std::to_string(level.soft), std::to_string(level.hard), "");
}

Level level_of(const vz::Config& config, const char* key, std::uint64_t used, std::uint64_t total) {
  auto limit = config.limit(key);
  if (!limit || limit->limit == vz::Limit::kUnlimited) return {used, total, total};
  return {used, limit->barrier, limit->limit};
}

std::string details_row(const char* kind, const vz::UserQuota& q, std::time_t now) {
  auto line = [&](const char* resource, std::uint64_t used, std::uint64_t soft, std::uint64_t hard,
                  std::int64_t until) {
    std::string text = fmt::format("{:<10} {:>5}  {:>9} {:>14}{} {:>14} {:>14} {:>8} loaded", q.id, kind, resource,
                                   used, soft && used > soft ? '*' : ' ', soft, hard, grace_left(until, now));
    return text + "\n";
  };
  return line("1k-blocks", (q.space + 1023) / 1024, q.space_soft / 1024, q.space_hard / 1024, q.space_until) +
         line("inodes", q.inodes, q.inodes_soft, q.inodes_hard, q.inodes_until);
}

vz::Result<std::string> details(FaceCall& call, vz::Ctid id, const vz::Config& config) {
  const std::time_t now = std::time(nullptr);
  auto users = VZ_TRY(vz::report_user_quota(call.host, id, vz::QuotaOf::user, call.reporter));
  auto groups = VZ_TRY(vz::report_user_quota(call.host, id, vz::QuotaOf::group, call.reporter));
  std::size_t total = users.entries.size() + groups.entries.size();
  std::string out = fmt::format(
      "\nUser/group quota: {}\nUgids: loaded {}, total {}, limit {}\nUgid limit was exceeded: no\n",
      users.enforced ? "on,active" : "off,inactive", total, total, config.number("QUOTAUGIDLIMIT").value_or(0));
  out += "\nUser/group grace times and quotafile flags:\n type block_exp_time inode_exp_time dqi_flags\n";
  for (const auto& [name, report] : {std::pair("user", &users), std::pair("group", &groups)})
    out += fmt::format("{:>5} {:>14} {:>14} {:>9}\n", name, report->space_grace, report->inodes_grace, 0);
  out += "\nUser/group objects:\n";
  out += fmt::format("{:<10} {:>5}  {:>9} {:>15} {:>14} {:>14} {:>8} status\n", "ID", "type", "resource", "usage",
                     "softlimit", "hardlimit", "grace");
  for (const auto& quota : users.entries) out += details_row("user", quota, now);
  for (const auto& quota : groups.entries) out += details_row("group", quota, now);
  return out;
}

vz::Result<int> stat(FaceCall& call, vz::Ctid id) {
  vz::Container container(call.host, id);
  auto info = VZ_TRY(container.info());
  if (!info.status.running)
    return fail(
        vz::Error(vz::Code::not_running, fmt::format("vzquota : (error) Quota is not running for id {}", id.value()))
            .with_hint(fmt::format("`vzctl quota {} report` works on a stopped container, too", id.value())));
  auto sample = VZ_TRY(container.sample());
  if (!sample.disk_used)
    return vz::fail(vz::Code::unsupported, fmt::format("container {}: its file system tells no usage", id.value()));
  std::string out = row("resource", "usage", "softlimit", "hardlimit", "grace");
  out += row("1k-blocks", level_of(info.config, "DISKSPACE", *sample.disk_used / 1024, *sample.disk_total / 1024));
  out += row("inodes", level_of(info.config, "DISKINODES", *sample.inodes_used, *sample.inodes_total));
  if (call.options.has("--details")) out += VZ_TRY(details(call, id, info.config));
  VZ_TRY(put(out));
  return 0;
}

// SOFT:HARD of which either may be missing.
vz::Result<> set_pair(FaceCall& call, const vz::Config& now, vz::Config& changes, const char* soft, const char* hard,
                      const char* key) {
  if (!call.options.has(soft) && !call.options.has(hard)) return {};
  auto limit = now.limit(key).value_or(vz::Limit{vz::Limit::kUnlimited, vz::Limit::kUnlimited});
  auto text = [](std::uint64_t n) { return n == vz::Limit::kUnlimited ? std::string("unlimited") : std::to_string(n); };
  std::string value =
      call.options.value_or(soft, text(limit.barrier)) + ":" + call.options.value_or(hard, text(limit.limit));
  changes.set(key, VZ_TRY(vz::param_from_option(*vz::find_param_by_key(key), value)));
  return {};
}

vz::Result<int> set_limit(FaceCall& call, vz::Ctid id) {
  auto config = VZ_TRY(call.host.load(id));
  vz::SetOptions options;
  options.save = true;  // vz keeps its limits in the configuration, as OpenVZ did in quota files
  VZ_TRY(set_pair(call, config, options.changes, "--block-softlimit", "--block-hardlimit", "DISKSPACE"));
  VZ_TRY(set_pair(call, config, options.changes, "--inode-softlimit", "--inode-hardlimit", "DISKINODES"));
  for (auto [option, key] : {std::pair("--block-exptime", "QUOTATIME"), std::pair("--ugid-limit", "QUOTAUGIDLIMIT")})
    if (const std::string* text = call.options.last(option))
      options.changes.set(key, VZ_TRY(vz::param_from_option(*vz::find_param_by_key(key), *text)));
  if (options.changes.keys().empty()) return vz::fail(vz::Code::bad_syntax, "vzquota : no limits are specified");
  VZ_TRY(vz::Container(call.host, id).set(options, call.reporter));
  return 0;
}

}  // namespace

std::span<const Option> vzquota_options() { return kOptions; }

vz::Result<int> run_vzquota(FaceCall& call) {
  const std::string& verb = call.options.words[0];
  auto id = VZ_TRY(call.host.resolve(call.options.words[1]));
  VZ_TRY(call.host.load(id));
  if (verb == "stat" || verb == "show") return stat(call, id);
  if (verb == "setlimit" || verb == "setlimit2") return set_limit(call, id);
  // Disk limits are in the file system: always on, counted by every write, never to be made or dropped.
  for (const char* known : {"on", "off", "init", "drop", "reload2"})
    if (verb == known) return 0;
  return fail(vz::Error(vz::Code::bad_syntax, fmt::format("vzquota : unknown command: {}", verb))
                  .with_hint("known are stat, show, setlimit, and on, off, init, drop, which have nothing to do"));
}

}  // namespace vzctl

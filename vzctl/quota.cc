// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl quota: disk quotas of the users and groups inside; quotaon, quotaoff and quotainit for old scripts.
#include <ctime>

#include <fmt/format.h>

#include <vz/config.h>
#include <vz/quota.h>
#include "vzctl/command.h"
#include "vzctl/format.h"
#include "vzctl/quota_text.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

constexpr const char* kUsage =
    "usage: vzctl quota CTID report | CTID user|group NAME [--blocks SOFT[:HARD]] [--inodes SOFT[:HARD]] | CTID grace "
    "[--blocks SECONDS] [--inodes SECONDS]";

vz::Error bad_syntax(std::string text) { return vz::Error(Code::bad_syntax, std::move(text)).with_hint(kUsage); }

// SOFT[:HARD] as --diskspace and --diskinodes have it; 0 and `unlimited` are none.
vz::Result<std::optional<vz::Limit>> limit_option(const Options& options, const char* name, const char* like) {
  const std::string* text = options.last(name);
  if (!text) return std::optional<vz::Limit>();
  auto checked = vz::param_from_option(*vz::find_param_by_key(like), *text);
  if (!checked)
    return fail(vz::Error(Code::bad_value, fmt::format("bad value for {}: {}", name, *text))
                    .with_hint("as in --blocks 1G:1.2G"));
  vz::Config config;
  config.set(like, *checked);
  auto limit = config.limit(like).value_or(vz::Limit{});
  for (std::uint64_t* part : {&limit.barrier, &limit.limit})
    if (*part == vz::Limit::kUnlimited) *part = 0;
  return std::optional(limit);
}

vz::Result<vz::QuotaOf> kind_of(const std::string& word) {
  if (word == "user") return vz::QuotaOf::user;
  if (word == "group") return vz::QuotaOf::group;
  return fail(bad_syntax(fmt::format("Bad kind of quota: {}", word)));
}

vz::Result<> change(Invocation& call, vz::QuotaOf kind, const std::string& who) {
  vz::UserQuotaChange change;
  if (auto space = VZ_TRY(limit_option(call.options, "--blocks", "DISKSPACE"))) {
    change.space_soft = space->barrier * 1024;
    change.space_hard = space->limit * 1024;
  }
  if (auto inodes = VZ_TRY(limit_option(call.options, "--inodes", "DISKINODES"))) {
    change.inodes_soft = inodes->barrier;
    change.inodes_hard = inodes->limit;
  }
  auto quota = VZ_TRY(vz::change_user_quota(*call.host, call.id, kind, who, change, call.reporter));
  if (call.options.has("--json")) return put(to_json(quota_value(quota)));
  Table table = quota_table(std::time(nullptr));
  add_quota(table, kind == vz::QuotaOf::user ? "user" : "group", quota, std::time(nullptr));
  return put(to_text(table, {.fit = true}));
}

vz::Result<> report(Invocation& call) {
  const std::time_t now = std::time(nullptr);
  Table table = quota_table(now);
  Value::Object all;
  for (auto [kind, name] : {std::pair(vz::QuotaOf::user, "user"), std::pair(vz::QuotaOf::group, "group")}) {
    auto report = VZ_TRY(vz::report_user_quota(*call.host, call.id, kind, call.reporter));
    Value::List list;
    for (const auto& quota : report.entries) {
      list.push_back(quota_value(quota));
      add_quota(table, name, quota, now);
    }
    all.push_back({name, Value::Object{{"enforced", report.enforced},
                                       {"space_grace", report.space_grace},
                                       {"inodes_grace", report.inodes_grace},
                                       {"quotas", std::move(list)}}});
  }
  return put(call.options.has("--json") ? to_json(Value(std::move(all))) : to_text(table, {.fit = true}));
}

vz::Result<> grace(Invocation& call) {
  std::optional<std::uint64_t> seconds[2];
  const char* names[2] = {"--blocks", "--inodes"};
  for (int i = 0; i < 2; ++i) {
    const std::string* text = call.options.last(names[i]);
    if (!text) continue;
    auto checked = vz::param_from_option(*vz::find_param_by_key("QUOTATIME"), *text);
    if (!checked)
      return fail(vz::Error(Code::bad_value, fmt::format("bad value for {}: {} (seconds)", names[i], *text)));
    vz::Config config;
    config.set("QUOTATIME", *checked);
    seconds[i] = config.number("QUOTATIME");
  }
  if (!seconds[0] && !seconds[1]) return fail(bad_syntax("Which grace time?"));
  for (auto kind : {vz::QuotaOf::user, vz::QuotaOf::group})
    VZ_TRY(vz::change_quota_grace(*call.host, call.id, kind, seconds[0], seconds[1], call.reporter));
  return {};
}

vz::Result<> run(Invocation& call) {
  const auto& words = call.options.words;
  if (call.options.has("--json")) call.reporter.set_verbosity(-1);
  if (words.size() == 1 && words[0] == "report") return report(call);
  if (words.size() == 1 && words[0] == "grace") return grace(call);
  if (words.size() != 2) return fail(bad_syntax(words.empty() ? "Which action?" : "Wrong number of arguments"));
  return change(call, VZ_TRY(kind_of(words[0])), words[1]);
}

// The disk limit of a container is in its file system and on whenever that is mounted: there is nothing to switch.
vz::Result<> run_switch(Invocation& call) {
  auto info = VZ_TRY(call.container().info());
  auto layout = info.config.get("VE_LAYOUT").value_or("");
  if (layout.empty() || layout.starts_with("ploop") || layout == "image") {
    call.reporter.info("CT is on ploop, disk quota is obsoleted, skipping operation");
    return {};
  }
  if (call.word == "quotaoff")
    return fail(vz::Error(Code::unsupported, "disk quota cannot be switched off for one container")
                    .with_hint(fmt::format("`vzctl set {} --diskspace unlimited --diskinodes unlimited --save`",
                                           call.id.value())));
  call.reporter.info("Disk quota is kept by the file system: it is on, and never has to be counted");
  return {};
}

}  // namespace

int run_quota(Invocation& call) {
  auto done = run(call);
  return done ? 0 : finish(call.reporter, done.error());
}

int run_quota_switch(Invocation& call) {
  auto done = run_switch(call);
  return done ? 0 : finish(call.reporter, done.error());
}

}  // namespace vzctl

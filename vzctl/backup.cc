// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl backup, backup-list, backup-verify, backup-delete, restore-backup.
#include <csignal>
#include <ctime>
#include <filesystem>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <vz/backup.h>

#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

Cell text_cell(const std::string& text) {
  return {text.empty() ? "-" : printable(text), text.empty() ? Value() : Value(text)};
}

Cell time_cell(std::int64_t seconds) {
  std::time_t time = seconds;
  std::tm tm{};
  localtime_r(&time, &tm);
  return {seconds ? fmt::format("{:%Y-%m-%d %H:%M:%S}", tm) : "-", Value(seconds)};
}

Cell size_cell(std::uint64_t bytes) { return {human_bytes(bytes), Value(bytes)}; }

Table backup_table(const std::vector<vz::BackupInfo>& backups, bool all) {
  Table table;
  table.columns = {{"ctid", "CTID", 1, {}},  {"name", "NAME", -1, {}},      {"kind", "KIND", -1, {}},
                   {"date", "DATE", -1, {}}, {"size", "SIZE", 1, {}},       {"layout", "LAYOUT", -1, {}},
                   {"host", "HOST", -1, {}}, {"problem", "PROBLEM", -1, {}}};
  if (all)
    for (const char* key : {"description", "container", "uuid", "base", "path", "by"})
      table.columns.push_back({key, key, -1, {}});
  for (const auto& b : backups) {
    std::vector<Cell> row = {
        {b.id.value() ? b.id.str() : "-", Value(std::uint64_t{b.id.value()})},
        text_cell(b.name),
        text_cell(b.problem.empty() || !b.uuid.empty() ? b.base.empty() ? "full" : "incremental" : ""),
        time_cell(b.created_at),
        size_cell(b.bytes),
        text_cell(b.layout),
        text_cell(b.host),
        text_cell(b.problem)};
    if (!b.problem.empty()) row.back().tone = Tone::bad;
    if (all)
      for (const auto* text : {&b.description, &b.container, &b.uuid, &b.base, &b.path})
        row.push_back(text_cell(*text));
    if (all) row.push_back(text_cell(b.by_owner ? "owner" : "host"));
    table.rows.push_back(std::move(row));
  }
  return table;
}

vz::Result<> show(Invocation& call, const std::vector<vz::BackupInfo>& backups) {
  const Format format = VZ_TRY(chosen_format(call.options));
  return put(render(backup_table(backups, format != Format::table), format,
                    {.header = !call.options.has("--no-header"), .fit = true}));
}

std::string absolute(const std::string& path) {
  std::string out = std::filesystem::absolute(path).lexically_normal().string();
  return out;
}

// The only argument, which names a backup.
vz::Result<std::string> which(const Invocation& call) {
  if (!call.options.words.empty()) return call.options.words[0];
  return fail(vz::Error(Code::not_enough_params, "Which backup?").with_hint("`vzctl backup-list` shows them"));
}

vz::Result<> take(Invocation& call) {
  const Options& o = call.options;
  vz::BackupOptions options;
  if (const std::string* output = o.last("--output")) options.output = absolute(*output);
  options.incremental = o.has("--incremental");
  options.description = o.value_or("--description", "");
  if (o.has("--json")) call.reporter.set_verbosity(-1);
  auto made = VZ_TRY(vz::take_backup(*call.host, call.id, options, call.reporter));
  return o.has("--json") ? show(call, {made}) : vz::Result<>();
}

vz::Result<> list(Invocation& call) {
  std::optional<vz::Ctid> id;
  if (!call.options.words.empty()) id = VZ_TRY(call.host->resolve(call.options.words[0]));
  call.reporter.set_verbosity(-1);
  auto backups = VZ_TRY(vz::list_backups(*call.host, id));
  return show(call, backups);
}

vz::Result<> verify(Invocation& call) {
  if (call.options.has("--json")) call.reporter.set_verbosity(-1);
  auto name = VZ_TRY(which(call));
  auto chain = VZ_TRY(vz::verify_backup(*call.host, name, call.reporter));
  return call.options.has("--json") ? show(call, chain) : vz::Result<>();
}

vz::Result<> remove(Invocation& call) {
  auto name = VZ_TRY(which(call));
  return vz::delete_backup(*call.host, name, call.reporter);
}

vz::Result<> restore(Invocation& call) {
  const Options& o = call.options;
  auto name = VZ_TRY(which(call));
  vz::RestoreBackupOptions options;
  if (const std::string* id = o.last("--ctid")) {
    options.id = VZ_TRY(vz::Ctid::parse(*id));
    if (options.id->value() == 0) return fail(Code::bad_value, "Bad CT ID 0: the host itself cannot be restored");
  }
  options.name = o.value_or("--name", "");
  options.replace = o.has("--replace");
  options.force = o.has("--force");
  VZ_TRY(vz::restore_backup(*call.host, name, options, call.reporter));
  return {};
}

}  // namespace

int run_backup(Invocation& call) { return finish(call.reporter, take(call)); }
int run_backup_list(Invocation& call) { return finish(call.reporter, list(call)); }
int run_backup_verify(Invocation& call) { return finish(call.reporter, verify(call)); }
int run_backup_delete(Invocation& call) { return finish(call.reporter, remove(call)); }

int run_restore_backup(Invocation& call) {
  (void)signal(SIGPIPE, SIG_IGN);  // tar ends early when it finds an error
  return finish(call.reporter, restore(call));
}

}  // namespace vzctl

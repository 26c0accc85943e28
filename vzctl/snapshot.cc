// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl snapshot, -list, -switch, -delete, -mount, -umount.
#include <algorithm>
#include <ctime>
#include <sstream>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <vz/snapshot.h>

#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

std::string in_braces(const std::string& uuid) { return uuid.empty() ? uuid : "{" + uuid + "}"; }

Cell text_cell(const std::string& text) {
  return {text.empty() ? "-" : printable(text), text.empty() ? Value() : Value(text)};
}
Cell uuid_cell(const std::string& uuid) { return {in_braces(uuid), uuid.empty() ? Value() : Value(uuid)}; }
Cell flag_cell(bool on) { return {on ? "yes" : "no", on}; }

std::string local_time(std::int64_t seconds) {
  std::time_t time = seconds;
  std::tm tm{};
  localtime_r(&time, &tm);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", tm);
}

struct Field {
  Column column;
  Cell (*cell)(const vz::SnapshotInfo&);
};

// Names, headers and widths of OpenVZ; memory, size and config are ours.
const std::vector<Field>& fields() {
  static const std::vector<Field> all = {
      {{"parent_uuid", "PARENT_UUID", -38, {}}, [](const vz::SnapshotInfo& s) { return uuid_cell(s.parent); }},
      {{"current", "C", -1, {}},
       [](const vz::SnapshotInfo& s) {
         return Cell{s.current ? "*" : "", Value(s.current)};
       }},
      {{"uuid", "UUID", -38, {}}, [](const vz::SnapshotInfo& s) { return uuid_cell(s.uuid); }},
      {{"date", "DATE", -19, {}},
       [](const vz::SnapshotInfo& s) {
         return Cell{local_time(s.created_at), Value(s.created_at)};
       }},
      {{"name", "NAME", -32, {}},
       [](const vz::SnapshotInfo& s) {
         return Cell{printable(s.name), Value(s.name)};
       }},
      {{"desc", "DESC", -32, {}}, [](const vz::SnapshotInfo& s) { return text_cell(s.description); }},
      {{"memory", "MEMORY", -6, {}}, [](const vz::SnapshotInfo& s) { return flag_cell(s.memory); }},
      {{"config", "CONFIG", -6, {}}, [](const vz::SnapshotInfo& s) { return flag_cell(s.config); }},
      {{"size", "SIZE", 10, {}},
       [](const vz::SnapshotInfo& s) {
         return Cell{human_bytes(s.bytes), Value(s.bytes)};
       }},
      {{"device", "DEVICE", -12, {}}, [](const vz::SnapshotInfo& s) { return text_cell(s.device); }},
      {{"target", "TARGET", -32, {}}, [](const vz::SnapshotInfo& s) { return text_cell(s.target); }},
  };
  return all;
}

// OpenVZ's other names of the same.
std::string canonical(const std::string& name) {
  if (name == "id") return "uuid";
  if (name == "parent_id") return "parent_uuid";
  return name == "description" ? "desc" : name;
}

vz::Result<std::vector<const Field*>> chosen_fields(const Options& options, Format format) {
  std::string names = options.value_or("--output", "parent_uuid,current,uuid,date,name");
  std::vector<const Field*> out;
  if (!options.has("--output") && format != Format::table) {
    for (const Field& field : fields()) out.push_back(&field);
    return out;
  }
  std::istringstream in(names);
  for (std::string name; std::getline(in, name, ',');) {
    auto at =
        std::find_if(fields().begin(), fields().end(), [&](const Field& f) { return f.column.key == canonical(name); });
    if (at == fields().end())
      return fail(vz::Error(Code::bad_syntax, fmt::format("Unknown field: {}", printable(name)))
                      .with_hint("`vzctl snapshot-list CTID -L` shows all"));
    out.push_back(&*at);
  }
  return out;
}

vz::Result<> list_fields() {
  std::string out;
  for (const Field& field : fields()) out += fmt::format("{:<15} {}\n", field.column.key, field.column.header);
  return put(out);
}

vz::Result<> list(Invocation& call) {
  const Options& o = call.options;
  call.reporter.set_verbosity(-1);
  if (o.has("--list")) return list_fields();
  const Format format = VZ_TRY(chosen_format(o));
  auto chosen = VZ_TRY(chosen_fields(o, format));
  auto snapshots = VZ_TRY(vz::list_snapshots(*call.host, call.id));
  Table table;
  for (const Field* field : chosen) table.columns.push_back(field->column);
  const std::string only = o.value_or("--id", "");
  for (const auto& s : snapshots) {
    if (!only.empty() && only != s.uuid && only != in_braces(s.uuid)) continue;
    std::vector<Cell> row;
    for (const Field* field : chosen) row.push_back(field->cell(s));
    table.rows.push_back(std::move(row));
  }
  if (!only.empty() && table.rows.empty())
    return fail(Code::list_snapshots, fmt::format("there is no snapshot {}", printable(only)));
  return put(render(table, format, {.header = !o.has("--no-header")}));
}

vz::Result<std::string> needed(const Options& options, const char* name) {
  if (const std::string* value = options.last(name)) return *value;
  return fail(vz::Error(Code::not_enough_params, fmt::format("{} is missing", name))
                  .with_hint("`vzctl snapshot-list CTID` shows the snapshots"));
}

vz::Result<> take(Invocation& call) {
  const Options& o = call.options;
  vz::SnapshotOptions options{o.value_or("--id", ""), o.value_or("--name", ""), o.value_or("--description", ""),
                              o.has("--skip-suspend"), o.has("--skip-config")};
  if (o.has("--json")) call.reporter.set_verbosity(-1);
  auto uuid = VZ_TRY(vz::take_snapshot(*call.host, call.id, options, call.reporter));
  return o.has("--json") ? put(to_json(Value::Object{{"uuid", uuid}})) : vz::Result<>();
}

vz::Result<> change(Invocation& call) {
  const Options& o = call.options;
  const auto uuid = VZ_TRY(needed(o, "--id"));
  if (o.has("--skip-resume") && o.has("--must-resume"))
    return fail(Code::bad_syntax, "--skip-resume and --must-resume exclude each other");
  return vz::switch_snapshot(*call.host, call.id,
                             {uuid, o.has("--skip-resume"), o.has("--must-resume"), o.has("--skip-config")},
                             call.reporter);
}

vz::Result<> mount(Invocation& call) {
  const auto uuid = VZ_TRY(needed(call.options, "--id"));
  const auto target = VZ_TRY(needed(call.options, "--target"));
  return vz::mount_snapshot(*call.host, call.id, uuid, target, call.reporter);
}

}  // namespace

int run_snapshot(Invocation& call) { return finish(call.reporter, take(call)); }
int run_snapshot_list(Invocation& call) { return finish(call.reporter, list(call)); }
int run_snapshot_switch(Invocation& call) { return finish(call.reporter, change(call)); }
int run_snapshot_mount(Invocation& call) { return finish(call.reporter, mount(call)); }

int run_snapshot_delete(Invocation& call) {
  auto uuid = needed(call.options, "--id");
  return finish(call.reporter, uuid ? vz::delete_snapshot(*call.host, call.id, *uuid, call.reporter)
                                    : vz::Result<>(fail(std::move(uuid).error())));
}

int run_snapshot_umount(Invocation& call) {
  auto uuid = needed(call.options, "--id");
  return finish(call.reporter, uuid ? vz::umount_snapshot(*call.host, call.id, *uuid, call.reporter)
                                    : vz::Result<>(fail(std::move(uuid).error())));
}

}  // namespace vzctl

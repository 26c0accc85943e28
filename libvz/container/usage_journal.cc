// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/usage_journal.h"

#include <ctime>
#include <map>
#include <optional>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/base/text.h"
#include "libvz/container/usage_json.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kDay = 86400;
constexpr int kKeptMonths = 24;
constexpr std::size_t kMaxFile = std::size_t{4} << 30;
constexpr std::string_view kFull = ".jsonl", kDaily = ".daily";

std::string journal_dir(const Host& host) { return host.paths().lib + "/usage/journal"; }

// Months since year 0.
int month_of(std::int64_t time) {
  const std::time_t t = time;
  std::tm utc{};
  gmtime_r(&t, &utc);
  return (utc.tm_year + 1900) * 12 + utc.tm_mon;
}

std::string month_name(int month) { return fmt::format("{:04}-{:02}", month / 12, month % 12 + 1); }

// "2026-11.jsonl"; nullopt: no file of ours.
std::optional<int> month_in(std::string_view name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  if (name.size() != 7 || name[4] != '-') return std::nullopt;
  auto year = parse_u64(name.substr(0, 4)), month = parse_u64(name.substr(5));
  if (!year || !month || *month < 1 || *month > 12) return std::nullopt;
  return static_cast<int>(*year * 12 + *month - 1);
}

bool entry_from_json(const Json& json, JournalEntry& e) {
  std::uint64_t time = 0, id = 0, created = 0;
  if (!json.is_object() || !number_from_json(json, "t", time) || !number_from_json(json, "id", id) ||
      !number_from_json(json, "created", created) || time == 0 || id == 0 || id > UINT32_MAX)
    return false;
  auto text = [&](const char* name, std::string& out) {
    auto found = json.find(name);
    if (found != json.end() && found->is_string()) out = found->get<std::string>();
  };
  text("name", e.name);
  text("series", e.series);
  e.time = static_cast<std::int64_t>(time);
  e.id = Ctid(static_cast<std::uint32_t>(id));
  e.created = static_cast<std::int64_t>(created);
  e.destroyed = json.contains("destroyed");
  return !e.series.empty() && json.contains("usage") && usage_from_json(json["usage"], e.usage);
}

std::optional<JournalEntry> parse_line(std::string_view line) {
  JournalEntry e;
  if (line.empty() || !entry_from_json(Json::parse(line, nullptr, /*allow_exceptions=*/false), e)) return std::nullopt;
  return e;
}

// Calls for each line of a file, which may be larger than what one wants in memory as objects.
Result<> each_line(const std::string& path, const std::function<void(std::string_view)>& call) {
  auto text = VZ_TRY(read_file(path, kMaxFile));
  for (std::string_view rest = text; !rest.empty();) {
    auto end = std::min(rest.find('\n'), rest.size());
    call(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

Result<UniqueFd> lock_journal(const Host& host) {
  VZ_TRY(make_dirs(journal_dir(host), 0700));
  return lock_file(journal_dir(host) + "/lock");
}

// So that a line which a crash cut off does not swallow the next one.
Result<bool> ends_in_the_middle(const std::string& path) {
  auto fd = VZ_TRY(open_file(path, O_RDONLY));
  const std::uint64_t size = VZ_TRY(file_size(fd.get()));
  if (size == 0) return false;
  auto last = VZ_TRY(read_at(fd.get(), size - 1, 1));
  return last != "\n";
}

Result<> thin_month(const Host& host, int month) {
  const std::string base = journal_dir(host) + "/" + month_name(month);
  auto text = VZ_TRY(read_file(base + std::string(kFull), kMaxFile));
  VZ_TRY(replace_file(base + std::string(kDaily), join(thin_journal(text), "\n") + "\n", 0600));
  // Killed in between, both are there: the same entries twice do no harm.
  return remove_tree(base + std::string(kFull));
}

}  // namespace

std::string journal_line(const JournalEntry& e) {
  Json json = {{"id", e.id.value()}, {"series", e.series}, {"created", e.created}, {"usage", usage_to_json(e.usage)}};
  if (!e.name.empty()) json["name"] = e.name;
  if (e.destroyed) json["destroyed"] = true;
  json["t"] = e.time;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> thin_journal(const std::string& text) {
  std::vector<std::string> lines;
  std::map<std::pair<std::string, std::int64_t>, std::size_t> last_of_day;
  std::map<std::string, bool> begun;
  for (std::string_view rest = text; !rest.empty();) {
    auto end = std::min(rest.find('\n'), rest.size());
    auto line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    auto e = parse_line(line);
    if (!e) continue;
    auto found = last_of_day.find({e->series, e->time / kDay});
    if (found != last_of_day.end())
      lines[found->second] = line;
    else if (lines.emplace_back(line); begun[e->series])
      last_of_day[{e->series, e->time / kDay}] = lines.size() - 1;
    begun[e->series] = true;
  }
  return lines;
}

Result<> append_journal(const Host& host, const std::vector<JournalEntry>& entries, std::int64_t now) {
  if (entries.empty()) return {};
  auto lock = VZ_TRY(lock_journal(host));
  const std::string path = journal_dir(host) + "/" + month_name(month_of(now)) + std::string(kFull);
  const bool made = !exists(path);
  std::string text;
  if (!made && VZ_TRY(ends_in_the_middle(path))) text += "\n";
  for (const auto& e : entries) text += journal_line(e) + "\n";
  auto fd = VZ_TRY(open_file(path, O_WRONLY | O_APPEND | O_CREAT, 0600));
  VZ_TRY(write_all(fd.get(), text));
  VZ_TRY(sync_file(fd.get()));
  if (!made) return {};
  auto dir = VZ_TRY(open_file(journal_dir(host), O_RDONLY | O_DIRECTORY));
  return sync_file(dir.get());
}

Result<> read_journal(const Host& host, const std::function<void(const JournalEntry&)>& entry) {
  auto names = list_dir(journal_dir(host));
  if (!names && names.error().sys_errno() == ENOENT) return {};
  if (!names) return fail(std::move(names).error());
  // Sorted: by month, and of a month ".daily" first.
  for (const auto& name : *names) {
    if (!month_in(name, kFull) && !month_in(name, kDaily)) continue;
    VZ_TRY(each_line(journal_dir(host) + "/" + name, [&](std::string_view line) {
      if (auto e = parse_line(line)) entry(*e);
    }));
  }
  return {};
}

Result<> tidy_journal(const Host& host, std::int64_t now) {
  auto lock = VZ_TRY(lock_journal(host));
  const int month = month_of(now);
  for (const auto& name : VZ_TRY(list_dir(journal_dir(host)))) {
    // Not last month's: reports of it are wanted now.
    if (auto full = month_in(name, kFull); full && *full < month - 1) VZ_TRY(thin_month(host, *full));
    if (auto daily = month_in(name, kDaily); daily && *daily < month - kKeptMonths)
      VZ_TRY(remove_tree(journal_dir(host) + "/" + name));
  }
  return {};
}

std::int64_t last_round(const Host& host) {
  auto text = read_file(journal_dir(host) + "/last");
  auto value = text ? parse_u64(trim(*text)) : fail(Code::system, "none");
  return value ? static_cast<std::int64_t>(*value) : 0;
}

Result<> save_last_round(const Host& host, std::int64_t now) {
  VZ_TRY(make_dirs(journal_dir(host), 0700));
  return replace_file(journal_dir(host) + "/last", std::to_string(now) + "\n", 0600);
}

}  // namespace vz

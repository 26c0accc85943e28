// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/migration_journal.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <vz/migrate.h>
#include <nlohmann/json.hpp>

#include "libvz/kernel/file.h"

namespace vz {

namespace {

using Json = nlohmann::json;

struct Field {
  const char* name;
  std::string MigrationJournal::*text;
};
constexpr std::array<Field, 12> kFields = {{{"session", &MigrationJournal::session},
                                            {"side", &MigrationJournal::side},
                                            {"phase", &MigrationJournal::phase},
                                            {"peer", &MigrationJournal::peer},
                                            {"transport", &MigrationJournal::transport},
                                            {"config", &MigrationJournal::config},
                                            {"usage", &MigrationJournal::usage},
                                            {"keep", &MigrationJournal::keep},
                                            {"start", &MigrationJournal::start},
                                            {"token", &MigrationJournal::token},
                                            {"private", &MigrationJournal::private_path},
                                            {"shared", &MigrationJournal::shared}}};

Error damaged(const std::string& path, const char* why) {
  return Error(Code::bad_config, fmt::format("{}: {}", path, why))
      .with_hint("find out on which host the container is; remove this file only when it is clear that it is here");
}

}  // namespace

std::string migration_journal_path(const Host& host, Ctid id) {
  return host.paths().lib + "/migrate/" + id.str() + ".json";
}

bool is_undecided(const MigrationJournal& journal) {
  return journal.phase == "incoming" || journal.phase == "prepared" || journal.phase == "held";
}

std::vector<MigrationStatus> list_migrations(const Host& host) {
  constexpr std::string_view kEnd = ".json";
  std::vector<MigrationStatus> out;
  auto names = list_dir(host.paths().lib + "/migrate");
  for (const auto& name : names ? *names : std::vector<std::string>()) {
    if (!name.ends_with(kEnd)) continue;
    auto id = Ctid::parse(name.substr(0, name.size() - kEnd.size()));
    if (!id) continue;
    auto journal = load_migration(host, *id);
    if (!journal) out.push_back({*id, "", "damaged"});
    if (journal && *journal) out.push_back({*id, (*journal)->side, (*journal)->phase});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return out;
}

Result<std::optional<MigrationJournal>> load_migration(const Host& host, Ctid id) {
  const auto path = migration_journal_path(host, id);
  if (!exists(path)) return std::optional<MigrationJournal>();
  auto text = VZ_TRY(read_file(path));
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return fail(damaged(path, "damaged"));
  if (json.value("version", Json()) == 1) json.emplace("shared", "");
  MigrationJournal out;
  for (const auto& f : kFields) {
    auto at = json.find(f.name);
    if (at == json.end() || !at->is_string()) return fail(damaged(path, "damaged"));
    out.*f.text = at->get<std::string>();
  }
  if (json.value("version", Json()) != out.version()) return fail(damaged(path, "of another version of vz"));
  return out;
}

Result<> save_migration(const Host& host, Ctid id, const MigrationJournal& journal) {
  VZ_TRY(make_dirs(host.paths().lib + "/migrate", 0700));
  Json json = {{"version", journal.version()}};
  for (const auto& f : kFields) json[f.name] = journal.*f.text;
  return replace_file(migration_journal_path(host, id), json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n",
                      0600);
}

Result<> remove_migration(const Host& host, Ctid id) { return remove_tree(migration_journal_path(host, id)); }

Result<> check_not_migrating(const Host& host, Ctid id) {
  auto journal = VZ_TRY(load_migration(host, id));
  if (!journal || journal->phase == "sending" || journal->phase == "incoming" || journal->phase == "done" ||
      journal->phase == "returned")
    return {};
  if (journal->side == "source")
    return fail(Error(Code::locked, fmt::format("Container {} was migrated to {}, which did not confirm it", id.value(),
                                                journal->peer))
                    .with_hint(fmt::format("`vzctl migrate {} --resolve` asks there again", id.value())));
  return fail(Error(Code::locked, fmt::format("Container {} is being migrated here from {}", id.value(), journal->peer))
                  .with_hint(fmt::format("`vzctl migrate {} --resolve` on that host ends it", id.value())));
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/migration_finish.h"

#include <fmt/format.h>

#include "libvz/container/checkpoint.h"
#include "libvz/container/dump_stream.h"
#include "libvz/container/names.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/state.h"
#include "libvz/container/usage_keep.h"
#include "libvz/container/usage_record.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/rename.h"

namespace vz {

std::string incoming_path(const MigrationJournal& journal) { return journal.private_path + ".incoming"; }

Result<> drop_incoming(const Host& host, Ctid id, const MigrationJournal& journal, Reporter& reporter) {
  if (journal.phase == "held" || journal.phase == "returned") {
    MigrationJournal placed = journal;
    VZ_TRY(give_back(host, id, &placed, reporter));
  }
  VZ_TRY(remove_private(incoming_path(journal)));
  VZ_TRY(remove_tree(incoming_dump_path(default_dump_path(host, id))));
  if (!exists(host.config_path(id))) VZ_TRY(release_idmap(host, id));
  return remove_migration(host, id);
}

namespace {

// What it used on the other host goes on here. A record that cannot be read is no reason to lose a container.
void import_usage(const Host& host, Ctid id, const std::string& text, Reporter& reporter) {
  if (text.empty()) return;
  auto record = parse_usage_record(text, "the usage record of the other host");
  auto saved = record ? save_usage_record(host, *record) : Result<>(fail(std::move(record).error()));
  if (!saved)
    reporter.warn(fmt::format("Warning: container {}: its usage begins anew: {}", id.value(), saved.error().message()));
}

// Of a container that was suspended. Only with its token, which the private area of the other host had. Once: when the
// dump has its name, the container may have run from it, which takes the token away for good.
Result<> place_dump(const Host& host, Ctid id, const MigrationJournal& journal, Reporter& reporter) {
  if (journal.token.empty()) return {};
  reporter.step("migrate.dump");
  const auto path = default_dump_path(host, id), incoming = incoming_dump_path(path);
  if (!exists(incoming)) return {};
  VZ_TRY(remove_dump(path));
  VZ_TRY(write_token(journal.private_path, journal.token));
  return rename_durably(incoming, path);
}

}  // namespace

Result<> put_in_place(const Host& host, Ctid id, const MigrationJournal& journal, Reporter& reporter) {
  reporter.step("migrate.private");
  if (!exists(journal.private_path)) VZ_TRY(rename_durably(incoming_path(journal), journal.private_path));
  VZ_TRY(place_dump(host, id, journal, reporter));
  reporter.step("migrate.usage");
  import_usage(host, id, journal.usage, reporter);
  reporter.step("migrate.config");
  VZ_TRY(make_dirs(host.paths().etc + "/conf", 0755));
  VZ_TRY(replace_file(host.config_path(id), journal.config, 0644));
  Config config = VZ_TRY(host.load(id));
  VZ_TRY(make_dirs(host.root_path(id, config), 0700));
  reporter.step("migrate.name");
  if (auto name = config.get("NAME"); name && !name->empty())
    if (auto assigned = assign_name(host, *name, id); !assigned)
      reporter.warn(fmt::format("Warning: container {} has no name: {}", id.value(), assigned.error().message()));
  return {};
}

namespace {

Result<FinishedIncoming> start_here(const Host& host, Ctid id, const MigrationJournal& journal, Reporter& reporter) {
  FinishedIncoming out;
  if (journal.start != "yes" && journal.start != "restore") return out;
  out.started = VZ_TRY(running_state(host, id)).has_value();
  if (out.started) return out;
  Context ct = VZ_TRY(load_context(host, id, reporter));
  if (journal.start == "restore") {
    RestoreOptions options;
    options.force = true;  // limits: they were checked, or forced, before it came
    auto restored = restore_locked(ct, options);
    out.started = restored.has_value();
    out.returned = !restored;
    if (!restored) out.note = restored.error().message();
    return out;
  }
  StartOptions options;
  options.enforce_all = false;
  auto started = start_locked(ct, options);
  out.started = started.has_value();
  if (!started) out.note = started.error().message();
  return out;
}

}  // namespace

Result<FinishedIncoming> finish_incoming(const Host& host, Ctid id, MigrationJournal* journal, Reporter& reporter) {
  if (journal->phase == "prepared" || journal->phase == "held") {
    journal->phase = "committed";
    reporter.step("migrate.committed");
    VZ_TRY(save_migration(host, id, *journal));
  }
  if (journal->phase == "committed") {
    // Running: whoever was told so died before it could say that.
    if (!VZ_TRY(running_state(host, id))) VZ_TRY(put_in_place(host, id, *journal, reporter));
    journal->phase = "done";
    reporter.step("migrate.done");
    VZ_TRY(save_migration(host, id, *journal));
  }
  FinishedIncoming out;
  if (journal->phase == "returned") {
    out.returned = true;
    out.note = "it could not be continued there";
  } else if (journal->phase == "done") {
    out = VZ_TRY(start_here(host, id, *journal, reporter));
  } else {
    return fail(Code::bad_value, "the container is not prepared");
  }
  if (out.returned) VZ_TRY(give_back(host, id, journal, reporter));
  return out;
}

Result<> give_back(const Host& host, Ctid id, MigrationJournal* journal, Reporter& reporter) {
  // First the token: from then on no dump here is of use, and nothing but a boot could make it run.
  // In a shared private area it is the source's as well. It is gone if the container has run here.
  reporter.step("migrate.return.token");
  if (!journal->is_shared()) VZ_TRY(remove_token(journal->private_path));
  auto config = host.load(id);
  if (config) {
    // While it has one: what a restore has left cannot be settled without.
    reporter.step("migrate.return.cleanup");
    VZ_TRY(clean_up(host, id, reporter));
    reporter.step("migrate.return.config");
    VZ_TRY(remove_name(host, config->get("NAME").value_or(""), id));
  }
  VZ_TRY(remove_tree(host.config_path(id)));
  journal->phase = "returned";
  reporter.step("migrate.returned");
  VZ_TRY(save_migration(host, id, *journal));
  reporter.step("migrate.return.files");
  if (!journal->is_shared()) VZ_TRY(remove_private(journal->private_path));
  VZ_TRY(remove_dump(default_dump_path(host, id)));
  return release_idmap(host, id);
}

namespace {

Result<> rename_aside(const std::string& path) {
  if (!exists(path)) return {};
  VZ_TRY(remove_tree(path + ".migrated"));
  return rename_durably(path, path + ".migrated");
}

}  // namespace

Result<> finish_outgoing(Context& ct, const MigrationJournal& journal) {
  if (journal.is_shared()) return forget_locked(ct);
  if (journal.keep != "yes") return destroy_locked(ct);
  ct.reporter.step("migrate.keep.name");
  VZ_TRY(remove_name(ct.host, ct.config.get("NAME").value_or(""), ct.id));
  ct.reporter.step("migrate.keep.private");
  VZ_TRY(rename_aside(ct.private_path));
  end_usage(ct.host, ct.id, ct.config.get("NAME").value_or(""), ct.reporter);
  ct.reporter.step("migrate.keep.config");
  return rename_aside(ct.host.config_path(ct.id));
}

}  // namespace vz

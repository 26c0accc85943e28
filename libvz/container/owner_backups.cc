// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/owner_backups.h"

#include <algorithm>
#include <ctime>

#include <unistd.h>

#include <fmt/format.h>

#include "libvz/container/backup_store.h"
#include "libvz/container/context.h"
#include "libvz/container/lock.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/owner_dir.h"
#include "libvz/container/private_plan.h"
#include "libvz/container/restored_config.h"
#include "libvz/container/state.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/owner_socket.h"
#include "libvz/kernel/process.h"

namespace vz {
namespace {

constexpr unsigned kTurns = 4;  // operations of owners at a time on this host

std::string record_path(const Host& host, Ctid id) { return owner_records(host) + "/" + id.str() + ".json"; }

Result<> save_record(const Host& host, Ctid id, const OwnerRecord& record) {
  VZ_TRY(make_dirs(owner_records(host), 0700));
  return replace_file(record_path(host, id), record_text(record), 0600);
}

// For the owner: what he can do something about, and nothing of the host.
std::string plain_reason(const Error& error) {
  switch (error.code()) {
    case Code::no_access:
      return "switched off by the host's admin";
    case Code::no_disk_space:
      return "no room: delete a backup, or ask for more --backup-space";
    case Code::locked:
      return "the host works on this container; try again later";
    case Code::bad_backup:
      return "the backup, or one that it builds on, is missing or damaged";
    case Code::private_exists:
      return "the host has snapshots of this container, which a restore would make useless";
    case Code::resize_image:
      return "the disk of then does not fit into what this container may have now";
    case Code::convert_image:
      return "the container had another disk layout then";
    default:
      return "it failed; the host's log says why";
  }
}

int status_of(const Error& error) {
  switch (error.code()) {
    case Code::no_access:
      return 403;
    case Code::no_disk_space:
      return 507;
    case Code::bad_backup:
      return 404;
    case Code::locked:
      return 409;
    default:
      return 500;
  }
}

// One of `kTurns`; waits for it. Which one depends on the container, so that none can take them all.
Result<UniqueFd> take_turn(const Host& host, Ctid id) {
  return lock_file(fmt::format("{}/turn.{}", owner_records(host), id.value() % kTurns));
}

// The directory may have those of an earlier container of this number, whose files are nobody's business inside.
Result<std::vector<BackupInfo>> own_backups(const Host& host, Ctid id) {
  const Config config = VZ_TRY(host.load(id));
  auto is_own = [&](const BackupInfo& b) { return is_backup_of(id, b.name) && b.id == id && is_of_same(b, config); };
  auto all = VZ_TRY(list_backups(host, id));
  std::erase_if(all, [&](const BackupInfo& b) { return !is_own(b); });
  return all;
}

Result<BackupInfo> find_own(const Host& host, Ctid id, const std::string& name) {
  for (auto& backup : VZ_TRY(own_backups(host, id)))
    if (backup.name == name) return std::move(backup);
  return fail(Code::bad_backup, fmt::format("container {} has no backup {}", id.value(), name));
}

class Operation {
 public:
  Operation(const Host& host, Ctid id, const OwnerRequest& request, const OwnerAnswer& answer, Reporter& reporter)
      : host_(host), id_(id), request_(request), answer_(answer), reporter_(reporter) {}
  Result<> list();
  Result<> remove();
  Result<> make();
  Result<> restore();

 private:
  Result<> refuse(Error error);
  Result<> begin(const char* operation);
  Result<> reach(const char* state);
  Result<> end(Result<> done, const std::string& message);
  Result<> put_back();

  const Host& host_;
  Ctid id_;
  const OwnerRequest& request_;
  const OwnerAnswer& answer_;
  Reporter& reporter_;
  OwnerRecord record_;
};

Result<> Operation::refuse(Error error) {
  const int status = status_of(error);
  answer_(owner_error(status, request_, plain_reason(error)));
  // What a container may ask for as often as it likes is not for the host's log.
  return status == 500 ? fail(std::move(error)) : Result<>();
}

Result<> Operation::list() {
  auto config = VZ_TRY(host_.load(id_));
  if (auto may = check_owner_backups(config); !may || !wants_owner_backups(config))
    return refuse(Error(Code::no_access, "backups from inside are switched off"));
  auto backups = own_backups(host_, id_);
  if (!backups) return refuse(std::move(backups).error());
  auto space = config.limit("BACKUP_SPACE");
  answer_(owner_list({*std::move(backups), space ? space->limit * 1024 : 0}, request_));
  return {};
}

Result<> Operation::begin(const char* operation) {
  record_.operation = operation;
  record_.backup = request_.name;
  record_.state = "waiting";
  record_.since = std::time(nullptr);
  auto self = VZ_TRY(identify(::getpid()));
  record_.pid = self.pid;
  record_.start_time = self.start_time;
  VZ_TRY(save_record(host_, id_, record_));
  reporter_.info(fmt::format("owner: {}{} asked for", operation, request_.name.empty() ? "" : " of " + request_.name));
  return {};
}

Result<> Operation::reach(const char* state) {
  record_.state = state;
  VZ_TRY(save_record(host_, id_, record_));
  reporter_.step(std::string("owner.") + state);
  return {};
}

Result<> Operation::end(Result<> done, const std::string& message) {
  record_.state = done ? "done" : "failed";
  record_.message = done ? message : plain_reason(done.error());
  if (!done && done.error().code() == Code::bad_backup && record_.operation == "backup")
    record_.message = "there is no backup to build on: make one that is not incremental";
  record_.ended = std::time(nullptr);
  if (auto saved = save_record(host_, id_, record_); !saved) reporter_.warn(saved.error().message());
  if (done)
    reporter_.info(
        fmt::format("owner: {} {}: done{}", record_.operation, record_.backup, message.empty() ? "" : ", " + message));
  return done;
}

Result<> Operation::remove() {
  auto config = VZ_TRY(host_.load(id_));
  if (!wants_owner_backups(config)) return refuse(Error(Code::no_access, "backups from inside are switched off"));
  auto backup = find_own(host_, id_, request_.name);
  if (!backup) return refuse(std::move(backup).error());
  if (!backup->by_owner) {
    answer_(owner_error(403, request_, "the host has made it, and only the host deletes it"));
    return {};
  }
  auto done = delete_backup(host_, backup->path, reporter_);
  if (!done && done.error().code() == Code::bad_backup) {
    answer_(owner_error(409, request_, "another backup builds on it; delete that one first"));
    return {};
  }
  if (!done) return refuse(std::move(done).error());
  reporter_.info("owner: deleted " + request_.name);
  OwnerRecord record{"delete", request_.name, "done", "", std::time(nullptr), std::time(nullptr), 0, 0};
  answer_(owner_status(record, request_));
  return {};
}

Result<> Operation::make() {
  auto config = VZ_TRY(host_.load(id_));
  if (auto may = check_owner_may(host_, id_, config); !may) return refuse(std::move(may).error());
  VZ_TRY(begin("backup"));
  answer_(owner_status(record_, request_, 202));
  auto turn = VZ_TRY(take_turn(host_, id_));
  VZ_TRY(reach("running"));
  work_in_background();
  BackupOptions options;
  options.by_owner = true;
  options.incremental = request_.incremental;
  auto made = take_backup(host_, id_, options, reporter_);
  if (made) record_.backup = made->name;
  return end(made ? Result<>() : fail(std::move(made).error()), made ? fmt::format("{} KiB", made->bytes >> 10) : "");
}

// The container's lock is held from before its files are read until it runs again.
Result<> Operation::put_back() {
  auto lock = VZ_TRY(CtLock::take(host_, id_, "restoring a backup"));
  VZ_TRY(check_not_migrating(host_, id_));
  Context ct = VZ_TRY(load_context(host_, id_, reporter_));
  if (!wants_owner_backups(ct.config)) return fail(Code::no_access, "backups from inside are switched off");
  auto backup = VZ_TRY(find_own(host_, id_, request_.name));
  return restore_in_place(ct, backup.path, [&](const char* state) { return reach(state); });
}

Result<> Operation::restore() {
  auto config = VZ_TRY(host_.load(id_));
  if (!wants_owner_backups(config)) return refuse(Error(Code::no_access, "backups from inside are switched off"));
  auto backup = find_own(host_, id_, request_.name);
  if (backup && !backup->problem.empty()) backup = fail(Code::bad_backup, backup->problem);
  if (!backup) return refuse(std::move(backup).error());
  VZ_TRY(begin("restore"));
  answer_(owner_status(record_, request_, 202));
  auto turn = VZ_TRY(take_turn(host_, id_));
  VZ_TRY(reach("running"));
  return end(put_back(), "");
}

}  // namespace

std::string owner_records(const Host& host) { return host.paths().run + "/owner"; }

std::optional<OwnerRecord> load_owner_record(const Host& host, Ctid id) {
  auto text = read_file(record_path(host, id), 64u << 10);
  return text ? parse_record(*text) : std::nullopt;
}

void forget_owner_record(const Host& host, Ctid id) { (void)remove_tree(record_path(host, id)); }

Result<> check_owner_may(const Host& host, Ctid id, const Config& merged) {
  if (!wants_owner_backups(merged) || !check_owner_backups(merged))
    return fail(Code::no_access, "backups from inside are switched off");
  if (VZ_TRY(list_backups(host, id)).size() >= kMaxOwnerBackups)
    return fail(Code::no_disk_space, fmt::format("there are {} backups already", kMaxOwnerBackups));
  return {};
}

Result<> serve_owner(const Host& host, Ctid id, const OwnerRequest& request, const OwnerAnswer& answer,
                     Reporter& reporter) {
  Operation operation(host, id, request, answer, reporter);
  switch (request.what) {
    case OwnerRequest::What::list:
      return operation.list();
    case OwnerRequest::What::make:
      return operation.make();
    case OwnerRequest::What::restore:
      return operation.restore();
    case OwnerRequest::What::remove:
      return operation.remove();
    case OwnerRequest::What::help:
    case OwnerRequest::What::status:
      break;
  }
  return fail(Code::system, "this request needs no process");
}

Result<> settle_owner(const Host& host, Ctid id, Reporter& reporter) {
  auto record = load_owner_record(host, id);
  if (!record || record->over()) return {};
  auto lock = VZ_TRY(CtLock::take(host, id, "repairing"));
  const auto private_path = host.private_path(id, VZ_TRY(host.load(id)));
  // Exchanged, even if nobody could write that down.
  bool replaced = record->state == "replaced" || has_restored_config(private_path);
  Context ct = VZ_TRY(load_context(host, id, reporter));
  const bool runs = VZ_TRY(running_state(host, id)).has_value();
  if (record->operation == "backup") VZ_TRY(discard_unfinished_backup(host, id));
  if (record->operation == "restore" && record->state == "restarting" && is_ready_in_place(private_path)) {
    reporter.info("owner: a restore was cut off; finishing it");
    VZ_TRY(finish_in_place(ct, [&](const char* state) {
      replaced = true;
      record->state = state;
      return save_record(host, id, *record);
    }));
  } else if (record->operation == "restore") {
    VZ_TRY(remove_leftover_private(private_path));
    if (!runs && record->state != "waiting" && record->state != "running") {
      reporter.info("owner: a restore was cut off; starting the container");
      VZ_TRY(start_locked(ct, {.force = true}));
    }
  }
  record->state = replaced ? "done" : "interrupted";
  record->message = replaced ? "the files are those of " + record->backup : "nothing was changed";
  record->ended = std::time(nullptr);
  reporter.info(fmt::format("owner: {}: {}, {}", record->operation, record->state, record->message));
  return save_record(host, id, *record);
}

void give_up_owner(const Host& host, Ctid id) {
  auto record = load_owner_record(host, id);
  if (!record || record->over()) return;
  record->state = "interrupted";
  record->message = "it failed; the host's log says why";
  record->ended = std::time(nullptr);
  (void)save_record(host, id, *record);
}

}  // namespace vz

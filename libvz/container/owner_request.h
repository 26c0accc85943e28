// SPDX-License-Identifier: LGPL-2.1-or-later
// What a container's root may ask of vzd about its own backups, over HTTP on /dev/vz/backups, and what it reads as the
// answer. Pure; every byte of a request is hostile.
//
//   GET    /backups               list; ?format=text or Accept: text/plain for people
//   POST   /backups               make one; ?incremental=1
//   POST   /backups/NAME/restore  the files of then, in place of the present ones
//   DELETE /backups/NAME          one that was made from inside
//   GET    /status                the operation that goes on, or the last one
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/backup.h>
#include <vz/ctid.h>
#include <vz/http.h>

namespace vz {

inline constexpr const char* kOwnerSocket = "backups";  // in RUN/ID/owner, which is /dev/vz inside

struct OwnerRequest {
  enum class What { help, list, make, restore, remove, status } what = What::help;
  bool incremental = false;
  bool text = false;  // for people, not JSON
  bool head = false;
  std::string name;   // of a backup; has the form that backups of this container have
  std::string allow;  // with 405: the methods that there are
};
// 200, or the status that refuses it (400, 404, 405, 413).
int parse_owner_request(const HttpRequest& http, Ctid id, OwnerRequest* out);
// The same from the bytes of a connection: also what http_parse() says.
int parse_owner_request(std::string_view text, Ctid id, OwnerRequest* out);
// "101-20261122-173328", of container 101: as take_backup() names them. No path and no other container's can be one.
bool is_backup_of(Ctid id, std::string_view name);

// Whole replies.
std::string owner_error(int status, const OwnerRequest& request, const std::string& why = {});
std::string owner_help();
struct OwnerList {
  std::vector<BackupInfo> backups;
  std::uint64_t limit = 0;  // bytes that they may take
};
std::string owner_list(const OwnerList& list, const OwnerRequest& request);

// RUN/owner/ID.json: what was asked for, for the one who asks and for whoever repairs after a crash.
struct OwnerRecord {
  std::string operation;  // "backup", "restore", "delete"
  std::string backup;     // its name, when it is known
  // "waiting", "running": the container runs as it was. "restarting": it was stopped for what a restore has made ready.
  // "replaced": its files are the new ones. "done", "failed", "interrupted": over.
  std::string state;
  std::string message;  // of the end, for the owner: nothing of the host in it
  std::int64_t since = 0, ended = 0;
  std::int64_t pid = 0;  // who works on it
  std::uint64_t start_time = 0;
  bool over() const { return state == "done" || state == "failed" || state == "interrupted"; }
};
std::string record_text(const OwnerRecord& record);
std::optional<OwnerRecord> parse_record(const std::string& text);
// `status`: 200, or 202 when it has just begun.
std::string owner_status(const std::optional<OwnerRecord>& record, const OwnerRequest& request, int status = 200);

}  // namespace vz

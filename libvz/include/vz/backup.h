// SPDX-License-Identifier: LGPL-2.1-or-later
// Backups of containers: one file each, complete (full) or with what changed since the one before (incremental), with
// the configuration and checksums, to be restored here or on another host, under the same number or another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

struct BackupInfo {
  std::string name;  // of the file, without directory and ending: "101-20261122-173328"
  std::string path;
  std::string uuid;
  std::string base;  // uuid of the one that it needs; "": full
  Ctid id{0};
  std::string container;  // its name; may be empty
  std::string layout;     // "image", "dir"
  std::string host;       // where it was made
  std::string description;
  std::int64_t created_at = 0;    // seconds since the epoch
  std::uint32_t nanoseconds = 0;  // and of the second
  std::uint64_t bytes = 0;        // of the file
  std::uint64_t size = 0;         // image: of the file system
  std::string problem;            // why it cannot be used; "": nothing is known
  bool by_owner = false;          // made from inside, by the container's root
  std::string container_uuid;     // UUID of its configuration; "": it had none, or the backup cannot be read
};

struct BackupOptions {
  std::string output;  // a directory, or a file to be made; empty: BACKUPDIR/ID
  bool incremental = false;
  std::string description;
  bool by_owner = false;  // for the container's root: only with FEATURES and BACKUP_SPACE that allow it
};

struct RestoreBackupOptions {
  std::optional<Ctid> id;  // another number
  std::string name;        // another name; empty: as it was, if nobody has it
  bool replace = false;    // instead of a stopped container of this number, which is lost
  bool force = false;      // also the privileges that a file from elsewhere asks for
};

// The container may run: its file system is frozen (image) or its processes are (dir), for the last part only.
// Codes: bad_backup (no base to build on), no_disk_space (also: more than BACKUP_SPACE), io.
VZ_API Result<BackupInfo> take_backup(const Host& host, Ctid id, const BackupOptions& options, Reporter& reporter);
// By name (in BACKUPDIR) or by path. Files from elsewhere are hostile input: Code::bad_backup.
VZ_API Result<Ctid> restore_backup(const Host& host, const std::string& which, const RestoreBackupOptions& options,
                                   Reporter& reporter);
// Reads it, and what it builds on, and compares all checksums. Returns the oldest first.
VZ_API Result<std::vector<BackupInfo>> verify_backup(const Host& host, const std::string& which, Reporter& reporter);
// Code::bad_backup when another one builds on it.
VZ_API Result<> delete_backup(const Host& host, const std::string& which, Reporter& reporter);
// Those in BACKUPDIR, oldest first; only of `id` when given. Files that are none are listed with their problem.
VZ_API Result<std::vector<BackupInfo>> list_backups(const Host& host, std::optional<Ctid> id);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Where backups are: BACKUPDIR/ID/NAME.vzb, root's alone, or any file that is named.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vz/backup.h>
#include <vz/config.h>
#include "libvz/container/backup_file.h"
#include "libvz/container/backup_header.h"

namespace vz {

constexpr const char* kBackupEnding = ".vzb";

std::string backup_dir_of(const Host& host, Ctid id);
// By name or path. Code::bad_backup when there is no such file.
Result<std::string> find_backup(const Host& host, const std::string& which);
// It is in BACKUPDIR, where only we write.
bool is_our_own(const Host& host, const std::string& path);

struct OpenBackup {
  BackupReader reader;  // after the header
  BackupHeader header;
};
Result<OpenBackup> open_backup(const std::string& path);
BackupInfo describe_backup(const std::string& path, const BackupHeader& header, std::uint64_t bytes);
// One that cannot be read has `problem`.
BackupInfo look_at_backup(const std::string& path);
// It is of the container with this configuration, and not of an earlier one that had its number.
bool is_of_same(const BackupInfo& backup, const Config& config);
// All of a directory, oldest first.
Result<std::vector<BackupInfo>> backups_in(const std::string& dir);

// The one that is named and all that it builds on, the full one first. They are looked for in the same directory.
Result<std::vector<std::string>> backup_chain(const std::string& path);
// Parts of backups that were not finished. The caller holds the container's lock.
Result<> discard_unfinished_backup(const Host& host, Ctid id);
// What the state parts of a finished backup hold.
Result<std::string> read_backup_state(const std::string& path);

}  // namespace vz

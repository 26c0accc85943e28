// SPDX-License-Identifier: LGPL-2.1-or-later
// Disk limits of the dir layout: a project of its own for each container, counted and bounded by the file system.
//
// The project id comes from the container's range of user ids, so that one registry (idalloc.h) keeps both unique. It
// is recorded where it counts: on PRIVATE/fs, which gets it last, so a directory that has it is complete. PRIVATE
// itself has an id that no container has: what is moved out of a container's tree would not be counted any more, and
// the kernel refuses that (EXDEV).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vz/config.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include "libvz/container/idalloc.h"
#include "libvz/kernel/idmap.h"
#include "libvz/kernel/mounted_on.h"
#include "libvz/kernel/quota.h"

namespace vz {

constexpr std::uint32_t kPrivateProject = static_cast<std::uint32_t>(kFirstContainerId - 1);

// DISKSPACE, DISKINODES, QUOTATIME and DISK_QUOTA as the kernel takes them. A soft limit without grace is a hard one.
struct DiskLimits {
  QuotaLimits limits;
  std::optional<std::uint64_t> grace;  // seconds; unset: what the file system has
  bool any() const { return limits != QuotaLimits{}; }
  bool operator==(const DiskLimits&) const = default;
};
DiskLimits disk_limits(const Config& merged);  // pure

// The nearest directory above that exists: where the missing ones will be made.
std::string existing_dir(std::string path);

// The file system of a directory that exists or will be made there.
struct QuotaSupport {
  bool counted = false, enforced = false;
  std::string why;      // what is missing
  std::string remedy;   // exact commands
  bool online = false;  // enforce_quota() is the remedy
};
QuotaSupport quota_support(const std::string& dir);
// From the facts alone. Pure.

QuotaSupport judge_quota(const MountedOn& mount, QuotaState state);

// Code::unsupported, with the remedy, when a limit is asked for that cannot be enforced there.
Result<> check_dir_quota(const std::string& private_path, const DiskLimits& disk);

// The id in `map` for a new tree: the first one that nothing on this file system is counted for.
Result<std::uint32_t> choose_project(int fs_fd, IdMap map);
// Gives PRIVATE's new, empty tree its project and limits. Nothing happens where the file system has no projects and no
// limit is asked for; Code::unsupported when one is.
Result<> start_dir_quota(const std::string& private_path, IdMap map, const DiskLimits& disk);
// The same for a tree that exists: whatever it lacks of its project it gets now, in one pass.
Result<> put_dir_quota(const std::string& private_path, IdMap map, const DiskLimits& disk, Reporter& reporter);
// Only the limits, of a tree that has its project: the container may run.
Result<> change_dir_limits(const std::string& private_path, const DiskLimits& disk, Reporter& reporter);
// Takes the limits away; what is left in the tree must go then. For a missing tree nothing happens.
Result<> drop_dir_quota(const std::string& private_path);

// The longest grace that a container of this host asks for becomes the file system's.
Result<> agree_on_grace(const Host& host, const std::string& private_path, const DiskLimits& disk);

// What a container of the dir layout uses; nullopt when nobody counts.
std::optional<Quota> dir_usage(const std::string& private_path);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Disk quotas of the users and groups inside a container, from the host.
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

enum class QuotaOf { user, group };

// Limits of 0 are none. Space is in bytes; times are seconds since the epoch at which a grace time ends, 0: none runs.
struct UserQuota {
  std::uint32_t id = 0;
  std::string name;  // as the container's own /etc/passwd or /etc/group has it; empty: in neither
  std::uint64_t space = 0, space_soft = 0, space_hard = 0;
  std::uint64_t inodes = 0, inodes_soft = 0, inodes_hard = 0;
  std::int64_t space_until = 0, inodes_until = 0;
};

struct UserQuotaReport {
  bool enforced = false;                            // QUOTAUGIDLIMIT is on, and the kernel holds to it
  std::uint64_t space_grace = 0, inodes_grace = 0;  // seconds
  std::vector<UserQuota> entries;                   // by id
};

// What of it is not set stays.
struct UserQuotaChange {
  std::optional<std::uint64_t> space_soft, space_hard;
  std::optional<std::uint64_t> inodes_soft, inodes_hard;
};

// Of a running or a stopped container; a stopped one is mounted for the moment. Code::unsupported: its file system has
// no such quotas.
VZ_API Result<UserQuotaReport> report_user_quota(const Host& host, Ctid id, QuotaOf kind, Reporter& reporter);
// `who` is a name in the container or a number. Returns what is in force then. Code::bad_value, Code::quota_set.
VZ_API Result<UserQuota> change_user_quota(const Host& host, Ctid id, QuotaOf kind, const std::string& who,
                                           const UserQuotaChange& change, Reporter& reporter);
// Seconds for which soft limits may be exceeded; image layout only, a directory shares them with the host.
VZ_API Result<> change_quota_grace(const Host& host, Ctid id, QuotaOf kind, std::optional<std::uint64_t> space,
                                   std::optional<std::uint64_t> inodes, Reporter& reporter);

// How often a disk limit was met since the container's start, as vzd has heard.
struct QuotaEventCounts {
  std::uint64_t soft = 0, grace = 0, hard = 0;
};
VZ_API Result<QuotaEventCounts> read_quota_events(const Host& host, Ctid id);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Disk quotas through quotactl_fd(2), alike for ext4 and XFS. `fd` is any open file or directory of the file system,
// not O_PATH. Code::unsupported where the file system has none, Code::quota_set for what else goes wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <vz/error.h>

namespace vz {

enum class QuotaType : unsigned { user = 0, group = 1, project = 2 };

// Bytes (multiples of 512 for the kernel) and counts; 0: no limit.
struct QuotaLimits {
  std::uint64_t soft_bytes = 0, hard_bytes = 0;
  std::uint64_t soft_inodes = 0, hard_inodes = 0;
  bool operator==(const QuotaLimits&) const = default;
};

struct Quota {
  std::uint32_t id = 0;
  QuotaLimits limits;
  std::uint64_t bytes = 0, inodes = 0;             // used
  std::int64_t bytes_until = 0, inodes_until = 0;  // end of grace, seconds since the epoch; 0: not above the soft limit
};

// Whether usage is counted and limits hold. Both false where the file system has no quota of this type.
struct QuotaState {
  bool counted = false;
  bool enforced = false;
};

// Seconds above a soft limit until it is as hard as the hard one; of a whole file system and type.
struct QuotaGrace {
  std::uint64_t bytes = 0, inodes = 0;
  bool operator==(const QuotaGrace&) const = default;
};

Result<QuotaState> quota_state(int fd, QuotaType type);
// What an id without an entry has is all zero.
Result<Quota> get_quota(int fd, QuotaType type, std::uint32_t id);
// The first entry with an id of `from` or above; nullopt after the last one.
Result<std::optional<Quota>> next_quota(int fd, QuotaType type, std::uint32_t from);
// All entries of `count` ids from `first` on, in the order of their ids.
Result<std::vector<Quota>> quotas_of(int fd, QuotaType type, std::uint32_t first, std::uint32_t count);
Result<> set_quota(int fd, QuotaType type, std::uint32_t id, const QuotaLimits& limits);
// Of an id that is above its soft limit: when its grace ends. Without an effect for others.
Result<> set_quota_until(int fd, QuotaType type, std::uint32_t id, std::optional<std::int64_t> bytes_until,
                         std::optional<std::int64_t> inodes_until);
Result<QuotaGrace> get_grace(int fd, QuotaType type);
Result<> set_grace(int fd, QuotaType type, const QuotaGrace& grace);
// Makes limits hold, or not, on a mounted file system that counts already (ext4 mounted without prjquota and the like).
Result<> enforce_quota(int fd, QuotaType type, bool on = true);
// Whether root of a container may manage the quotas of its ids: fs.quota.userns_admin of kmod/patches. nullopt: this
// kernel does not know that.
std::optional<bool> userns_quota_admin();
// A call whose arguments somebody else has made: 0 or errno.
int quotactl_on(int fd, std::uint32_t command, unsigned type, std::uint32_t id, void* data);

}  // namespace vz

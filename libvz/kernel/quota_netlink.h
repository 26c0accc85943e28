// SPDX-License-Identifier: LGPL-2.1-or-later
// What the kernel tells of disk limits that are met (generic netlink family VFS_DQUOT). Once per crossing, not per
// write.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>

struct nl_sock;
struct nlmsghdr;

namespace vz {

struct QuotaEvent {
  enum class What { hard_limit, soft_limit, grace_over, below } what = What::below;
  bool inodes = false;   // else space
  unsigned type = 0;     // USRQUOTA, GRPQUOTA, PRJQUOTA
  std::uint64_t id = 0;  // on disk
  dev_t device = 0;
  std::uint64_t cause = 0;  // uid of who wrote
};

// Only the host's network namespace hears them.
class QuotaEvents {
 public:
  static Result<QuotaEvents> open();
  QuotaEvents(QuotaEvents&& other) noexcept;
  QuotaEvents& operator=(QuotaEvents&& other) noexcept;
  ~QuotaEvents();
  int fd() const;
  // What has arrived; never blocks. `lost`: the kernel dropped some.
  std::vector<QuotaEvent> read(bool* lost);

 private:
  explicit QuotaEvents(nl_sock* sock) : sock_(sock) {}
  nl_sock* sock_ = nullptr;
};

// One message, netlink header first. nullopt: cut, or of a kind we do not know.
std::optional<QuotaEvent> parse_quota_event(const nlmsghdr* message);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// quotactl(2) of a process in a container, as the kernel itself would treat it if a user namespace could own quotas:
// what is asked, who may ask it, and what its ids mean on disk. All pure; seccomp_notify.h has the system calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvz/kernel/idmap.h"

namespace vz {

// The part of a file system's quotas that belongs to a container.
struct QuotaView {
  std::uint32_t base = 0;  // of its ids on disk; 0 in an image, which has them from 0
  std::uint32_t count = 65536;
  bool own_file_system = false;  // nobody else has grace times there
};

// Who calls, in the container's own ids.
struct QuotaCaller {
  std::uint32_t uid = UINT32_MAX, gid = UINT32_MAX;
  std::vector<std::uint32_t> groups;
  bool admin = false;  // CAP_SYS_ADMIN in the container's user namespace
};
// From /proc/PID/status as the host sees it. `own_namespace`: the process is in the container's user namespace and not
// in one made inside; else it is nobody. nullopt: not such a text.
std::optional<QuotaCaller> parse_quota_caller(std::string_view status, IdMap map, bool own_namespace);

// What a command takes and gives.
struct QuotaCommand {
  unsigned command;
  std::size_t in, out;  // bytes at the address argument
  bool by_id;           // has an id argument
  enum class Who { anyone, owner, admin, file_system_admin, nobody } who;
};

struct QuotaCall {
  const QuotaCommand* command = nullptr;
  unsigned type = 0;
  std::uint32_t id = 0;
  bool is_sync() const;  // Q_SYNC
};

extern const int kQuotactlNumber, kQuotactlFdNumber;  // of the system calls

// The largest `in` or `out`.
inline constexpr std::size_t kQuotaDataMax = 160;

// The first argument of quotactl(2) and the id. 0 or errno: EINVAL for what is no command, EPERM for commands and kinds
// of quota (project quota: it bounds the container itself) that are the host's.
int decode_quota_call(std::uint32_t command, std::uint32_t id, QuotaCall* out);
// 0 or errno.
int permit_quota_call(const QuotaCall& call, const QuotaCaller& caller, const QuotaView& view);
// Of data that was copied from the caller: what is not to be set is refused (usage) or taken out. 0 or errno.
int check_quota_data(const QuotaCall& call, void* data);
// The id for the kernel. Only after permit_quota_call().
std::uint32_t quota_id_on_disk(const QuotaCall& call, const QuotaView& view);
// Puts the container's id where the kernel has put its own. 0, or ENOENT: the next id is not the container's.
int translate_quota_answer(const QuotaCall& call, const QuotaView& view, void* data);

}  // namespace vz

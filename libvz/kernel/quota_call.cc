// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/quota_call.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <linux/capability.h>
#include <linux/dqblk_xfs.h>
#include <linux/quota.h>
#include <sys/syscall.h>

#include "libvz/base/text.h"

namespace vz {

namespace {

using Who = QuotaCommand::Who;

// Grace times and defaults belong to a whole file system: Q_SETINFO, and Q_XSETQLIM of the id 0 on disk.
constexpr QuotaCommand kCommands[] = {
    {Q_SYNC, 0, 0, false, Who::anyone},
    {Q_GETFMT, 0, sizeof(std::uint32_t), false, Who::anyone},
    {Q_GETINFO, 0, sizeof(if_dqinfo), false, Who::anyone},
    {Q_SETINFO, sizeof(if_dqinfo), 0, false, Who::file_system_admin},
    {Q_GETQUOTA, 0, sizeof(if_dqblk), true, Who::owner},
    {Q_SETQUOTA, sizeof(if_dqblk), 0, true, Who::admin},
    {Q_GETNEXTQUOTA, 0, sizeof(if_nextdqblk), true, Who::admin},
    {Q_XGETQUOTA, 0, sizeof(fs_disk_quota), true, Who::owner},
    {Q_XSETQLIM, sizeof(fs_disk_quota), 0, true, Who::admin},
    {Q_XGETNEXTQUOTA, 0, sizeof(fs_disk_quota), true, Who::admin},
    {Q_XGETQSTAT, 0, sizeof(fs_quota_stat), false, Who::anyone},
    {Q_XQUOTASYNC, 0, 0, false, Who::anyone},
    {Q_QUOTAON, 0, 0, false, Who::nobody},
    {Q_QUOTAOFF, 0, 0, false, Who::nobody},
    {Q_XQUOTAON, 0, 0, false, Who::nobody},
    {Q_XQUOTAOFF, 0, 0, false, Who::nobody},
    {Q_XQUOTARM, 0, 0, false, Who::nobody},
};
static_assert(std::all_of(std::begin(kCommands), std::end(kCommands),
                          [](const QuotaCommand& c) { return c.in <= kQuotaDataMax && c.out <= kQuotaDataMax; }));

bool is_next(unsigned command) { return command == Q_GETNEXTQUOTA || command == Q_XGETNEXTQUOTA; }

bool owns(const QuotaCaller& caller, const QuotaCall& call) {
  if (call.type == USRQUOTA) return call.id == caller.uid;
  return call.id == caller.gid || std::find(caller.groups.begin(), caller.groups.end(), call.id) != caller.groups.end();
}

// Number `index` of a line's words.
std::optional<std::uint32_t> number(const std::vector<std::string>& words, std::size_t index) {
  if (words.size() <= index) return std::nullopt;
  auto value = parse_u64(words[index]);
  if (!value || *value > UINT32_MAX) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

std::uint32_t inside(std::uint32_t id, IdMap map) { return id - map.base < map.count ? id - map.base : UINT32_MAX; }

bool has_admin(const std::string& hex) {
  std::uint64_t bits = 0;
  for (char c : hex) {
    if (c >= '0' && c <= '9')
      bits = bits << 4 | static_cast<std::uint64_t>(c - '0');
    else if (c >= 'a' && c <= 'f')
      bits = bits << 4 | static_cast<std::uint64_t>(c - 'a' + 10);
    else
      return false;
  }
  return bits >> CAP_SYS_ADMIN & 1;
}

// A field of a structure at `offset` of the data.
template <class T>
T field(const void* data, std::size_t offset) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + offset, sizeof value);
  return value;
}

template <class T>
void put(void* data, std::size_t offset, T value) {
  std::memcpy(static_cast<char*>(data) + offset, &value, sizeof value);
}

}  // namespace

const int kQuotactlNumber = SYS_quotactl, kQuotactlFdNumber = SYS_quotactl_fd;

bool QuotaCall::is_sync() const { return command->command == Q_SYNC; }

std::optional<QuotaCaller> parse_quota_caller(std::string_view status, IdMap map, bool own_namespace) {
  QuotaCaller caller;
  bool uid = false, gid = false, capabilities = false;
  for (const auto& line : split(status, '\n')) {
    auto words = split_blank(line);
    if (words.empty()) continue;
    // Real, effective, saved, file system.
    if (words[0] == "Uid:" && (uid = number(words, 2).has_value())) caller.uid = inside(*number(words, 2), map);
    if (words[0] == "Gid:" && (gid = number(words, 2).has_value())) caller.gid = inside(*number(words, 2), map);
    if (words[0] == "Groups:")
      for (std::size_t i = 1; i < words.size(); ++i)
        if (auto group = number(words, i); group && inside(*group, map) != UINT32_MAX)
          caller.groups.push_back(inside(*group, map));
    if (words[0] == "CapEff:" && (capabilities = words.size() == 2)) caller.admin = has_admin(words[1]);
  }
  if (!uid || !gid || !capabilities) return std::nullopt;
  return own_namespace ? caller : QuotaCaller{};
}

int decode_quota_call(std::uint32_t command, std::uint32_t id, QuotaCall* out) {
  unsigned type = command & SUBCMDMASK;
  if (type == PRJQUOTA) return EPERM;
  if (type > PRJQUOTA) return EINVAL;
  for (const QuotaCommand& known : kCommands) {
    if (known.command != command >> SUBCMDSHIFT) continue;
    *out = {&known, type, known.by_id ? id : 0};
    return known.who == Who::nobody ? EPERM : 0;
  }
  return EINVAL;
}

int permit_quota_call(const QuotaCall& call, const QuotaCaller& caller, const QuotaView& view) {
  Who who = call.command->who;
  bool may = who == Who::anyone || caller.admin || (who == Who::owner && owns(caller, call));
  if (who == Who::file_system_admin && !view.own_file_system) may = false;
  if (!may) return EPERM;
  if (!call.command->by_id || call.id < view.count) return 0;
  return is_next(call.command->command) ? ENOENT : EPERM;
}

int check_quota_data(const QuotaCall& call, void* data) {
  switch (call.command->command) {
    case Q_SETQUOTA:
      return field<std::uint32_t>(data, offsetof(if_dqblk, dqb_valid)) & QIF_USAGE ? EPERM : 0;
    case Q_XSETQLIM:
      return field<std::uint16_t>(data, offsetof(fs_disk_quota, d_fieldmask)) & FS_DQ_ACCT_MASK ? EPERM : 0;
    case Q_SETINFO: {
      // dqi_flags have no meaning but to old formats.
      auto valid = field<std::uint32_t>(data, offsetof(if_dqinfo, dqi_valid));
      put(data, offsetof(if_dqinfo, dqi_valid), valid & static_cast<std::uint32_t>(IIF_BGRACE | IIF_IGRACE));
      return 0;
    }
    default:
      return 0;
  }
}

std::uint32_t quota_id_on_disk(const QuotaCall& call, const QuotaView& view) {
  return call.command->by_id ? view.base + call.id : 0;
}

int translate_quota_answer(const QuotaCall& call, const QuotaView& view, void* data) {
  std::size_t offset = 0;
  switch (call.command->command) {
    case Q_GETNEXTQUOTA:
      offset = offsetof(if_nextdqblk, dqb_id);
      break;
    case Q_XGETQUOTA:
    case Q_XGETNEXTQUOTA:
      offset = offsetof(fs_disk_quota, d_id);
      break;
    default:
      return 0;
  }
  std::uint32_t id = field<std::uint32_t>(data, offset) - view.base;
  if (id >= view.count) return ENOENT;
  put(data, offset, id);
  return 0;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/quota.h"

#include <cerrno>
#include <string>

#include <linux/dqblk_xfs.h>
#include <linux/quota.h>
#include <sys/quota.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::uint64_t kBasicBlock = 512;  // the unit of the X commands, whatever the file system's own block

long call(int fd, unsigned command, QuotaType type, std::uint32_t id, void* data) {
  return ::syscall(SYS_quotactl_fd, fd, QCMD(command, static_cast<unsigned>(type)), id, data);
}

const char* name_of(QuotaType type) {
  return type == QuotaType::user ? "user" : type == QuotaType::group ? "group" : "project";
}

// The errors of a file system or kernel without this quota.
bool is_missing(int err) {
  return err == ENOSYS || err == ESRCH || err == EOPNOTSUPP || err == EINVAL || err == ENOTTY;
}

tl::unexpected<Error> failed(QuotaType type, const std::string& what) {
  const int err = errno;
  const auto text = fmt::format("{} {} quota", what, name_of(type));
  return fail(Error::from_errno(err, text, is_missing(err) ? Code::unsupported : Code::quota_set));
}

std::int64_t timer(std::int32_t low, std::int8_t high, std::uint16_t fields) {
  const auto bits = static_cast<std::uint64_t>(static_cast<std::uint32_t>(low));
  if (!(fields & FS_DQ_BIGTIME)) return low;
  return static_cast<std::int64_t>(high) * (std::int64_t{1} << 32) + static_cast<std::int64_t>(bits);
}

Quota from_kernel(const fs_disk_quota& d) {
  Quota q;
  q.id = d.d_id;
  q.limits = {d.d_blk_softlimit * kBasicBlock, d.d_blk_hardlimit * kBasicBlock, d.d_ino_softlimit, d.d_ino_hardlimit};
  q.bytes = d.d_bcount * kBasicBlock;
  q.inodes = d.d_icount;
  q.bytes_until = timer(d.d_btimer, d.d_btimer_hi, d.d_fieldmask);
  q.inodes_until = timer(d.d_itimer, d.d_itimer_hi, d.d_fieldmask);
  return q;
}

fs_disk_quota empty_request(std::uint32_t id, QuotaType type) {
  fs_disk_quota d = {};
  d.d_version = FS_DQUOT_VERSION;
  d.d_id = id;
  d.d_flags = type == QuotaType::user ? FS_USER_QUOTA : type == QuotaType::group ? FS_GROUP_QUOTA : FS_PROJ_QUOTA;
  return d;
}

std::uint64_t blocks(std::uint64_t bytes) { return (bytes + kBasicBlock - 1) / kBasicBlock; }

}  // namespace

Result<QuotaState> quota_state(int fd, QuotaType type) {
  fs_quota_statv state = {};
  state.qs_version = FS_QSTATV_VERSION1;
  if (call(fd, Q_XGETQSTATV, type, 0, &state) != 0) {
    if (is_missing(errno)) return QuotaState{};
    return failed(type, "read the state of the");
  }
  constexpr std::uint16_t kCounted[] = {FS_QUOTA_UDQ_ACCT, FS_QUOTA_GDQ_ACCT, FS_QUOTA_PDQ_ACCT};
  constexpr std::uint16_t kEnforced[] = {FS_QUOTA_UDQ_ENFD, FS_QUOTA_GDQ_ENFD, FS_QUOTA_PDQ_ENFD};
  const auto i = static_cast<unsigned>(type);
  return QuotaState{(state.qs_flags & kCounted[i]) != 0, (state.qs_flags & kEnforced[i]) != 0};
}

Result<Quota> get_quota(int fd, QuotaType type, std::uint32_t id) {
  fs_disk_quota d = {};
  if (call(fd, Q_XGETQUOTA, type, id, &d) == 0) return from_kernel(d);
  // XFS has no entry before the first use; ESRCH is also what a file system without quota says.
  if (errno == ENOENT) return Quota{id, {}, 0, 0, 0, 0};
  return failed(type, fmt::format("read the limits of {} in the", id));
}

Result<std::optional<Quota>> next_quota(int fd, QuotaType type, std::uint32_t from) {
  fs_disk_quota d = {};
  if (call(fd, Q_XGETNEXTQUOTA, type, from, &d) == 0) return from_kernel(d);
  if (errno == ENOENT || errno == ESRCH) return std::optional<Quota>();
  return failed(type, "list the");
}

Result<std::vector<Quota>> quotas_of(int fd, QuotaType type, std::uint32_t first, std::uint32_t count) {
  std::vector<Quota> out;
  const std::uint64_t end = std::uint64_t{first} + count;
  for (std::uint64_t next = first; next < end;) {
    auto quota = VZ_TRY(next_quota(fd, type, static_cast<std::uint32_t>(next)));
    if (!quota || quota->id >= end) break;
    next = std::uint64_t{quota->id} + 1;
    out.push_back(*quota);
  }
  return out;
}

Result<> set_quota(int fd, QuotaType type, std::uint32_t id, const QuotaLimits& limits) {
  fs_disk_quota d = empty_request(id, type);
  d.d_fieldmask = FS_DQ_BSOFT | FS_DQ_BHARD | FS_DQ_ISOFT | FS_DQ_IHARD;
  d.d_blk_softlimit = blocks(limits.soft_bytes);
  d.d_blk_hardlimit = blocks(limits.hard_bytes);
  d.d_ino_softlimit = limits.soft_inodes;
  d.d_ino_hardlimit = limits.hard_inodes;
  if (call(fd, Q_XSETQLIM, type, id, &d) != 0) return failed(type, fmt::format("set the limits of {} in the", id));
  return {};
}

Result<> set_quota_until(int fd, QuotaType type, std::uint32_t id, std::optional<std::int64_t> bytes_until,
                         std::optional<std::int64_t> inodes_until) {
  fs_disk_quota d = empty_request(id, type);
  auto put = [&](std::optional<std::int64_t> value, std::uint16_t field, std::int32_t* low, std::int8_t* high) {
    if (!value) return;
    d.d_fieldmask |= field | FS_DQ_BIGTIME;
    *low = static_cast<std::int32_t>(static_cast<std::uint32_t>(*value));
    *high = static_cast<std::int8_t>(*value >> 32);
  };
  put(bytes_until, FS_DQ_BTIMER, &d.d_btimer, &d.d_btimer_hi);
  put(inodes_until, FS_DQ_ITIMER, &d.d_itimer, &d.d_itimer_hi);
  if (call(fd, Q_XSETQLIM, type, id, &d) != 0) return failed(type, fmt::format("set the grace of {} in the", id));
  return {};
}

Result<QuotaGrace> get_grace(int fd, QuotaType type) {
  if_dqinfo info = {};
  if (call(fd, Q_GETINFO, type, 0, &info) != 0) return failed(type, "read the grace time of the");
  return QuotaGrace{info.dqi_bgrace, info.dqi_igrace};
}

Result<> set_grace(int fd, QuotaType type, const QuotaGrace& grace) {
  if_dqinfo info = {};
  info.dqi_bgrace = grace.bytes;
  info.dqi_igrace = grace.inodes;
  info.dqi_valid = IIF_BGRACE | IIF_IGRACE;
  if (call(fd, Q_SETINFO, type, 0, &info) != 0) return failed(type, "set the grace time of the");
  return {};
}

Result<> enforce_quota(int fd, QuotaType type, bool on) {
  constexpr unsigned kFlags[] = {FS_QUOTA_UDQ_ENFD, FS_QUOTA_GDQ_ENFD, FS_QUOTA_PDQ_ENFD};
  unsigned flags = kFlags[static_cast<unsigned>(type)];
  if (call(fd, on ? Q_XQUOTAON : Q_XQUOTAOFF, type, 0, &flags) != 0 && errno != EEXIST)
    return failed(type, on ? "switch on the" : "switch off the");
  return {};
}

std::optional<bool> userns_quota_admin() {
  auto value = read_file("/proc/sys/fs/quota/userns_admin");
  if (!value) return std::nullopt;
  return value->starts_with('1');
}

int quotactl_on(int fd, std::uint32_t command, unsigned type, std::uint32_t id, void* data) {
  return ::syscall(SYS_quotactl_fd, fd, QCMD(command, type), id, data) == 0 ? 0 : errno;
}

}  // namespace vz

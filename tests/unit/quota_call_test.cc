// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/quota_call.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include <linux/dqblk_xfs.h>
#include <linux/quota.h>

namespace vz {
namespace {

constexpr IdMap kMap{.base = 1879048192, .count = 65536};
constexpr QuotaView kImage{.base = 0, .count = 65536, .own_file_system = true};
constexpr QuotaView kDirectory{.base = 1879048192, .count = 65536, .own_file_system = false};

const QuotaCaller kRoot{.uid = 0, .gid = 0, .groups = {}, .admin = true};
const QuotaCaller kUser{.uid = 1000, .gid = 1000, .groups = {27, 100}, .admin = false};
const QuotaCaller kNobody{};

struct Decoding {
  std::uint32_t command, type;
  int error;
};
class Decode : public testing::TestWithParam<Decoding> {};

TEST_P(Decode, Answers) {
  QuotaCall call;
  EXPECT_EQ(decode_quota_call(QCMD(GetParam().command, GetParam().type), 7, &call), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(Commands, Decode,
                         testing::Values(Decoding{Q_GETQUOTA, USRQUOTA, 0}, Decoding{Q_SETQUOTA, GRPQUOTA, 0},
                                         Decoding{Q_XSETQLIM, 1, 0}, Decoding{Q_GETQUOTA, PRJQUOTA, EPERM},
                                         Decoding{Q_SETQUOTA, PRJQUOTA, EPERM}, Decoding{Q_GETQUOTA, 3, EINVAL},
                                         Decoding{Q_GETQUOTA, 255, EINVAL}, Decoding{Q_QUOTAON, USRQUOTA, EPERM},
                                         Decoding{Q_QUOTAOFF, GRPQUOTA, EPERM}, Decoding{Q_XQUOTAON, USRQUOTA, EPERM},
                                         Decoding{Q_XQUOTAOFF, USRQUOTA, EPERM}, Decoding{Q_XQUOTARM, USRQUOTA, EPERM},
                                         Decoding{0x80000a, USRQUOTA, EINVAL}, Decoding{0, USRQUOTA, EINVAL},
                                         Decoding{0xffffff, USRQUOTA, EINVAL}));

struct Permission {
  std::uint32_t command, type, id;
  const QuotaCaller& caller;
  int image, directory;
};
class Permit : public testing::TestWithParam<Permission> {};

TEST_P(Permit, Answers) {
  const Permission& p = GetParam();
  QuotaCall call;
  ASSERT_EQ(decode_quota_call(QCMD(p.command, p.type), p.id, &call), 0);
  EXPECT_EQ(permit_quota_call(call, p.caller, kImage), p.image);
  EXPECT_EQ(permit_quota_call(call, p.caller, kDirectory), p.directory);
}

INSTANTIATE_TEST_SUITE_P(
    Callers, Permit,
    testing::Values(Permission{Q_GETFMT, 0, 0, kNobody, 0, 0}, Permission{Q_GETINFO, 0, 0, kNobody, 0, 0},
                    Permission{Q_GETQUOTA, 0, 1000, kUser, 0, 0}, Permission{Q_GETQUOTA, 0, 1001, kUser, EPERM, EPERM},
                    Permission{Q_GETQUOTA, 1, 1000, kUser, 0, 0}, Permission{Q_GETQUOTA, 1, 27, kUser, 0, 0},
                    Permission{Q_GETQUOTA, 1, 28, kUser, EPERM, EPERM}, Permission{Q_XGETQUOTA, 0, 1000, kUser, 0, 0},
                    Permission{Q_SETQUOTA, 0, 1000, kUser, EPERM, EPERM},
                    Permission{Q_GETNEXTQUOTA, 0, 1000, kUser, EPERM, EPERM},
                    Permission{Q_GETQUOTA, 0, UINT32_MAX, kNobody, EPERM, EPERM},
                    Permission{Q_SETQUOTA, 0, 65535, kRoot, 0, 0},
                    Permission{Q_SETQUOTA, 0, 65536, kRoot, EPERM, EPERM},
                    Permission{Q_GETQUOTA, 0, UINT32_MAX, kRoot, EPERM, EPERM},
                    // the host's id that base + id would wrap around to
                    Permission{Q_SETQUOTA, 0, 0u - kMap.base, kRoot, EPERM, EPERM},
                    Permission{Q_GETNEXTQUOTA, 0, 65536, kRoot, ENOENT, ENOENT},
                    Permission{Q_XGETNEXTQUOTA, 1, 70000, kRoot, ENOENT, ENOENT},
                    Permission{Q_SETINFO, 0, 0, kRoot, 0, EPERM}, Permission{Q_SETINFO, 0, 0, kUser, EPERM, EPERM}));

TEST(QuotaCall, IdsAreTranslatedBothWays) {
  QuotaCall call;
  ASSERT_EQ(decode_quota_call(QCMD(Q_GETNEXTQUOTA, USRQUOTA), 1000, &call), 0);
  EXPECT_EQ(quota_id_on_disk(call, kImage), 1000u);
  EXPECT_EQ(quota_id_on_disk(call, kDirectory), kMap.base + 1000);
  if_nextdqblk next{};
  next.dqb_id = kMap.base + 1003;
  EXPECT_EQ(translate_quota_answer(call, kDirectory, &next), 0);
  EXPECT_EQ(next.dqb_id, 1003u);
  for (std::uint32_t foreign : {kMap.base + 65536, kMap.base - 1, 0u, UINT32_MAX}) {
    next.dqb_id = foreign;
    EXPECT_EQ(translate_quota_answer(call, kDirectory, &next), ENOENT) << foreign;
  }
  ASSERT_EQ(decode_quota_call(QCMD(Q_XGETQUOTA, USRQUOTA), 5, &call), 0);
  fs_disk_quota disk{};
  disk.d_id = kMap.base + 5;
  EXPECT_EQ(translate_quota_answer(call, kDirectory, &disk), 0);
  EXPECT_EQ(disk.d_id, 5u);
  // A command without an id never names one of the host.
  ASSERT_EQ(decode_quota_call(QCMD(Q_GETINFO, USRQUOTA), 77, &call), 0);
  EXPECT_EQ(quota_id_on_disk(call, kDirectory), 0u);
}

TEST(QuotaCall, UsageCannotBeSet) {
  QuotaCall call;
  ASSERT_EQ(decode_quota_call(QCMD(Q_SETQUOTA, USRQUOTA), 5, &call), 0);
  if_dqblk block{};
  for (std::uint32_t valid : {0u, std::uint32_t{QIF_LIMITS}, std::uint32_t{QIF_LIMITS | QIF_TIMES}}) {
    block.dqb_valid = valid;
    EXPECT_EQ(check_quota_data(call, &block), 0);
  }
  for (std::uint32_t valid : {std::uint32_t{QIF_SPACE}, std::uint32_t{QIF_INODES}, std::uint32_t{QIF_ALL}}) {
    block.dqb_valid = valid;
    EXPECT_EQ(check_quota_data(call, &block), EPERM);
  }
  ASSERT_EQ(decode_quota_call(QCMD(Q_XSETQLIM, USRQUOTA), 5, &call), 0);
  fs_disk_quota disk{};
  disk.d_fieldmask = FS_DQ_BHARD | FS_DQ_BCOUNT;
  EXPECT_EQ(check_quota_data(call, &disk), EPERM);
  ASSERT_EQ(decode_quota_call(QCMD(Q_SETINFO, USRQUOTA), 0, &call), 0);
  if_dqinfo info{};
  info.dqi_valid = IIF_ALL;
  EXPECT_EQ(check_quota_data(call, &info), 0);
  EXPECT_EQ(info.dqi_valid, std::uint32_t{IIF_BGRACE | IIF_IGRACE});
}

const char* const kStatus =
    "Name:\tx\nUmask:\t0022\nUid:\t1879049192\t1879048192\t0\t0\nGid:\t1879048200\t1879048201\t0\t0\n"
    "Groups:\t1879048219 5 1879113728 \nCapEff:\t0000000000200000\n";

TEST(QuotaCaller, HasTheContainersOwnIds) {
  auto caller = parse_quota_caller(kStatus, kMap, true);
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->uid, 0u);  // the effective one
  EXPECT_EQ(caller->gid, 9u);
  EXPECT_EQ(caller->groups, std::vector<std::uint32_t>{27});  // 5 and base + 65536 are not the container's
  EXPECT_TRUE(caller->admin);
}

TEST(QuotaCaller, IsNobodyInANamespaceMadeInside) {
  auto caller = parse_quota_caller(kStatus, kMap, false);
  ASSERT_TRUE(caller);
  EXPECT_FALSE(caller->admin);
  EXPECT_EQ(caller->uid, UINT32_MAX);
}

TEST(QuotaCaller, NeedsAllLines) {
  EXPECT_FALSE(parse_quota_caller("", kMap, true));
  EXPECT_FALSE(parse_quota_caller("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n", kMap, true));
  EXPECT_FALSE(parse_quota_caller("Uid:\t0\nGid:\t0\t0\t0\t0\nCapEff:\t0\n", kMap, true));
  auto bad = parse_quota_caller("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapEff:\tzz\n", kMap, true);
  ASSERT_TRUE(bad);
  EXPECT_FALSE(bad->admin);
}

}  // namespace
}  // namespace vz

// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/dir_quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vz {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kKib = 1024;

struct LimitCase {
  const char* config;
  QuotaLimits limits;
};

TEST(DirQuota, LimitsOfAConfiguration) {
  const LimitCase cases[] = {
      {"", {}},
      {"DISKSPACE=\"1000:2000\"", {1000 * kKib, 2000 * kKib, 0, 0}},
      {"DISKSPACE=\"2000:2000\"", {0, 2000 * kKib, 0, 0}},
      {"DISKSPACE=\"1000:2000\"\nQUOTATIME=\"0\"", {0, 1000 * kKib, 0, 0}},
      {"DISKSPACE=\"1000:2000\"\nQUOTATIME=\"5\"", {1000 * kKib, 2000 * kKib, 0, 0}},
      {"DISKSPACE=\"1000:unlimited\"", {1000 * kKib, 0, 0, 0}},
      {"DISKSPACE=\"unlimited:unlimited\"", {}},
      {"DISKINODES=\"10:20\"", {0, 0, 10, 20}},
      {"DISKINODES=\"10:20\"\nQUOTATIME=\"0\"", {0, 0, 0, 10}},
      {"DISKSPACE=\"1000:2000\"\nDISKINODES=\"10:20\"\nDISK_QUOTA=\"no\"", {}},
      {"DISKSPACE=\"1000:2000\"\nDISK_QUOTA=\"yes\"", {1000 * kKib, 2000 * kKib, 0, 0}},
  };
  for (const auto& c : cases) {
    auto disk = disk_limits(Config::parse(c.config, "test"));
    EXPECT_EQ(disk.limits, c.limits) << c.config;
    EXPECT_EQ(disk.any(), c.limits != QuotaLimits{}) << c.config;
  }
}

TEST(DirQuota, SizesBeyondTheKernelsDoNotWrapAround) {
  auto disk = disk_limits(Config::parse("DISKSPACE=\"9007199254740991\"", "test"));
  EXPECT_GT(disk.limits.hard_bytes, std::uint64_t{1} << 62);
}

TEST(DirQuota, GraceOnlyWhereItIsSaid) {
  EXPECT_FALSE(disk_limits(Config::parse("DISKSPACE=\"1:2\"", "test")).grace);
  EXPECT_EQ(disk_limits(Config::parse("QUOTATIME=\"604800\"", "test")).grace, 604800u);
}

TEST(DirQuota, WhatIsMissingIsSaidWithTheCommand) {
  auto ext4 = judge_quota({"ext4", "/dev/sdb1", "/srv"}, {false, false});
  EXPECT_FALSE(ext4.online);
  EXPECT_THAT(ext4.remedy, HasSubstr("umount /srv; tune2fs -O quota,project -Q prjquota /dev/sdb1; "
                                     "mount -o prjquota /dev/sdb1 /srv"));
  EXPECT_THAT(judge_quota({"ext4", "/dev/sda1", "/"}, {false, false}).remedy, HasSubstr("rescue"));
  auto off = judge_quota({"ext4", "/dev/sdb1", "/srv"}, {true, false});
  EXPECT_TRUE(off.online);
  EXPECT_THAT(off.remedy, HasSubstr("vzctl check --fix"));
  EXPECT_THAT(judge_quota({"xfs", "/dev/sdb1", "/srv"}, {false, false}).remedy,
              HasSubstr("umount /srv; mount -o prjquota /dev/sdb1 /srv"));
  EXPECT_THAT(judge_quota({"xfs", "/dev/sda1", "/"}, {false, false}).remedy, HasSubstr("rootflags=prjquota"));
  EXPECT_THAT(judge_quota({"btrfs", "/dev/sda1", "/"}, {false, false}).why, HasSubstr("btrfs has no project quota"));
  auto good = judge_quota({"xfs", "/dev/sda1", "/"}, {true, true});
  EXPECT_TRUE(good.enforced && good.why.empty() && good.remedy.empty());
}

TEST(MountedOn, FindsTheLineWithTheId) {
  const std::string table =
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "36 22 8:17 /sub /srv/a\\040b rw,noatime shared:2 master:1 - xfs /dev/sdb1 rw,prjquota\n"
      "40 22 0:5 / /tmp rw - tmpfs none rw\n"
      "broken\n";
  auto found = find_mount(table, 36);
  EXPECT_EQ(found.type, "xfs");
  EXPECT_EQ(found.source, "/dev/sdb1");
  EXPECT_EQ(found.point, "/srv/a b");
  EXPECT_EQ(find_mount(table, 40).type, "tmpfs");
  EXPECT_EQ(find_mount(table, 99).type, "");
}

}  // namespace
}  // namespace vz

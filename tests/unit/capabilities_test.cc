// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/capabilities.h"

#include <gtest/gtest.h>

#include <linux/capability.h>

namespace vz {
namespace {

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

TEST(Capabilities, DefaultsKeepASystemAliveAndTheHostOut) {
  std::uint64_t mask = default_capabilities();
  for (unsigned cap :
       {CAP_CHOWN, CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SYS_BOOT, CAP_SYS_RESOURCE, CAP_AUDIT_WRITE, CAP_SETFCAP})
    EXPECT_TRUE(mask & bit(cap)) << capability_name(cap);
  for (unsigned cap : {CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_MAC_ADMIN, CAP_MAC_OVERRIDE, CAP_SYSLOG,
                       CAP_WAKE_ALARM, CAP_BLOCK_SUSPEND, CAP_BPF, CAP_PERFMON, CAP_AUDIT_READ})
    EXPECT_FALSE(mask & bit(cap)) << capability_name(cap);
  EXPECT_EQ(mask >> (CAP_LAST_CAP + 1), 0u);
}

TEST(Capabilities, NamesFollowTheKernelsNumbers) {
  EXPECT_EQ(capability_name(CAP_CHOWN), "CHOWN");
  EXPECT_EQ(capability_name(CAP_SYS_RESOURCE), "SYS_RESOURCE");
  EXPECT_EQ(capability_name(CAP_SETFCAP), "SETFCAP");
  EXPECT_EQ(capability_name(CAP_CHECKPOINT_RESTORE), "CHECKPOINT_RESTORE");
  EXPECT_EQ(capability_name(63), "");
}

struct Case {
  std::uint64_t base;
  const char* text;
  std::uint64_t want;
};

class CapabilityChanges : public testing::TestWithParam<Case> {};

TEST_P(CapabilityChanges, AreApplied) {
  auto got = apply_capability_changes(GetParam().base, GetParam().text);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(*got, GetParam().want);
}

INSTANTIATE_TEST_SUITE_P(Lists, CapabilityChanges,
                         testing::Values(Case{5, "", 5}, Case{0, "CHOWN:on", bit(CAP_CHOWN)},
                                         Case{0, "cap_net_admin:on,SYS_TIME:On",
                                              bit(CAP_NET_ADMIN) | bit(CAP_SYS_TIME)},
                                         Case{bit(CAP_KILL), " Kill:off  CAP_SYS_BOOT:ON ", bit(CAP_SYS_BOOT)},
                                         Case{0, "chown:on,chown:off", 0},  // the last one counts
                                         Case{1, "VE_ADMIN:on,setveid:off", 1}));

TEST(Capabilities, BadEntriesAreNamed) {
  for (const char* text : {"CHOWN", "CHOWN:", "CHOWN:yes", ":on", "NOSUCH:on", "CAP_CAP_CHOWN:on", "CHOWN:on;KILL:on",
                           "CAP_:on", "CHOWN:on:off"}) {
    auto got = apply_capability_changes(0, text);
    ASSERT_FALSE(got) << text;
    EXPECT_EQ(got.error().code(), Code::bad_value) << text;
  }
  EXPECT_NE(apply_capability_changes(0, "KILL:on,NOSUCH:on").error().message().find("NOSUCH"), std::string::npos);
}

}  // namespace
}  // namespace vz

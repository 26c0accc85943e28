// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/quota_events.h"

#include <gtest/gtest.h>

#include <linux/genetlink.h>
#include <linux/quota.h>
#include <sys/sysmacros.h>

#include <netlink/attr.h>
#include <netlink/msg.h>

namespace vz {
namespace {

struct Message {
  nl_msg* msg = nlmsg_alloc_simple(0x20, 0);
  Message() {
    genlmsghdr header{};
    header.cmd = QUOTA_NL_C_WARNING;
    nlmsg_append(msg, &header, sizeof header, NLMSG_ALIGNTO);
  }
  ~Message() { nlmsg_free(msg); }
  void fill(std::uint32_t warning) {
    nla_put_u32(msg, QUOTA_NL_A_QTYPE, 1);
    nla_put_u64(msg, QUOTA_NL_A_EXCESS_ID, 1000);
    nla_put_u32(msg, QUOTA_NL_A_WARNING, warning);
    nla_put_u32(msg, QUOTA_NL_A_DEV_MAJOR, 7);
    nla_put_u32(msg, QUOTA_NL_A_DEV_MINOR, 3);
  }
};

TEST(QuotaEvent, IsRead) {
  Message m;
  m.fill(QUOTA_NL_BSOFTLONGWARN);
  auto event = parse_quota_event(nlmsg_hdr(m.msg));
  ASSERT_TRUE(event);
  EXPECT_EQ(event->what, QuotaEvent::What::grace_over);
  EXPECT_FALSE(event->inodes);
  EXPECT_EQ(event->type, 1u);
  EXPECT_EQ(event->id, 1000u);
  EXPECT_EQ(event->device, makedev(7, 3));
  EXPECT_EQ(quota_event_text(*event, 1000), "group 1000: grace time of disk space is over, the soft limit holds");
}

TEST(QuotaEvent, CutOrUnknownIsNone) {
  Message cut, unknown;
  nla_put_u32(cut.msg, QUOTA_NL_A_QTYPE, 0);
  EXPECT_FALSE(parse_quota_event(nlmsg_hdr(cut.msg)));
  unknown.fill(99);
  EXPECT_FALSE(parse_quota_event(nlmsg_hdr(unknown.msg)));
}

TEST(QuotaVoice, SaysTenLinesAMinute) {
  QuotaVoice voice;
  auto now = QuotaVoice::Clock::now();
  std::uint64_t unsaid = 99;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(voice.may_say(now, &unsaid));
    EXPECT_EQ(unsaid, 0u);
  }
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(voice.may_say(now, &unsaid));
  EXPECT_TRUE(voice.may_say(now + std::chrono::seconds(61), &unsaid));
  EXPECT_EQ(unsaid, 5u);
}

}  // namespace
}  // namespace vz

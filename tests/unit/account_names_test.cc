// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/account_names.h"

#include <gtest/gtest.h>

namespace vz {
namespace {

TEST(AccountNames, FirstOneCounts) {
  auto names = AccountNames::parse(
      "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:\nalice:x:1001:1::/:\n");
  EXPECT_EQ(names.name_of(0), "root");
  EXPECT_EQ(names.id_of("toor"), 0u);
  EXPECT_EQ(names.id_of("alice"), 1000u);
  EXPECT_EQ(names.name_of(1001), "alice");
  EXPECT_EQ(names.name_of(7), "");
  EXPECT_FALSE(names.id_of("bob"));
}

TEST(AccountNames, HostileLinesArePassedOver) {
  std::string text = "\x1b[2J:x:1:\n:x:2:\na b:x:3:\n" + std::string(33, 'a') + ":x:4:\nok:x:-5:\nok:x:99999999999:\n" +
                     "big:x:4294967295:\nshort:x\nsamba$:x:8:\n";
  auto names = AccountNames::parse(text);
  for (std::uint32_t id : {1u, 2u, 3u, 4u, 5u, UINT32_MAX}) EXPECT_EQ(names.name_of(id), "") << id;
  EXPECT_EQ(names.name_of(8), "samba$");
}

}  // namespace
}  // namespace vz

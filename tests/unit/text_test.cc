// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/base/text.h"

#include <gtest/gtest.h>

namespace vz {
namespace {

constexpr std::string_view kStatus = "Name:\tsh\nNSpid:\t812\t3\nVmSwapped:\t9 kB\nVmSwap:\t 4 kB \n";

TEST(LineValue, IsWhatFollowsTheKey) {
  EXPECT_EQ(line_value(kStatus, "Name:"), "sh");
  EXPECT_EQ(line_value(kStatus, "NSpid:"), "812\t3");
  EXPECT_EQ(line_value(kStatus, "VmSwap:"), "4 kB");
  EXPECT_EQ(line_value("usage_usec 12", "usage_usec "), "12");
}

TEST(LineValue, IsEmptyWhereNoLineBeginsWithIt) {
  EXPECT_EQ(line_value(kStatus, "ame:"), "");
  EXPECT_EQ(line_value(kStatus, "Uid:"), "");
  EXPECT_EQ(line_value("", "Uid:"), "");
  EXPECT_EQ(line_value("Uid:", "Uid:"), "");
}

TEST(Hex, ThereAndBack) {
  const std::string all("\x00\x7f\x80\xff", 4);
  EXPECT_EQ(to_hex(all), "007f80ff");
  EXPECT_EQ(from_hex("007f80FF").value(), all);
  EXPECT_EQ(from_hex("").value(), "");
  for (const char* bad : {"0", "000", "0g", "g0", " 0", "-1", "0x"}) EXPECT_FALSE(from_hex(bad)) << bad;
}

}  // namespace
}  // namespace vz

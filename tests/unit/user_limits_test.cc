// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/user_limits.h"

#include <gtest/gtest.h>

namespace vz {
namespace {

constexpr IdMap kIds{0x70000000, 65536};

Code code_of(const char* text) {
  auto checked = check_user_limits("/proc", kIds, text);
  return checked ? Code::ok : checked.error().code();
}

TEST(UserLimits, WhatIsNoneIsRefusedByItsLine) {
  for (const char* text :
       {"user", "user 1 2 3 4", "user 1 2 3 4 5 6", "project 1 2 3 4 5", "user -1 0 0 0 0", "user 65536 0 0 0 1",
        "user 1 0 0 0 99999999999999999999", "user 1 0 0 0 x", "user 1 0 0 0 1\nnobody"})
    EXPECT_EQ(code_of(text), Code::bad_value) << text;
  auto checked = check_user_limits("/proc", kIds, "user 1 0 0 0 1\n\x1b[31m\n");
  EXPECT_EQ(checked.error().message().find('\x1b'), std::string::npos);
}

TEST(UserLimits, NoneFitsEverywhere) {
  EXPECT_EQ(code_of(""), Code::ok);
  EXPECT_EQ(code_of("\n"), Code::ok);
  EXPECT_TRUE(write_user_limits("/proc", kIds, ""));
  EXPECT_EQ(read_user_limits("/proc", kIds).value(), "");
}

TEST(UserLimits, SomeNeedQuotas) {
  EXPECT_EQ(code_of("user 65535 0 1024 0 0\ngroup 0 0 0 1 2\n"), Code::unsupported);
  EXPECT_FALSE(write_user_limits("/proc", kIds, "user 1 0 1024 0 0"));
}

}  // namespace
}  // namespace vz

// SPDX-License-Identifier: GPL-2.0-or-later
#include <vz/boot.h>

#include <gtest/gtest.h>

namespace vz {
namespace {

TEST(Boot, HigherOrderFirstUnsetLastThenById) {
  struct Case {
    std::vector<BootEntry> entries;
    std::vector<std::uint32_t> order;
  };
  const Case cases[] = {
      {{}, {}},
      {{{Ctid(103), 0}, {Ctid(101), 0}}, {101, 103}},
      {{{Ctid(101), 1}, {Ctid(102), 10}, {Ctid(103), 2}}, {102, 103, 101}},
      {{{Ctid(101), 0}, {Ctid(102), 5}}, {102, 101}},
      {{{Ctid(9), 5}, {Ctid(10), 5}, {Ctid(1), 4}}, {9, 10, 1}},
  };
  for (const Case& c : cases) {
    std::vector<std::uint32_t> got;
    for (Ctid id : boot_order(c.entries)) got.push_back(id.value());
    EXPECT_EQ(got, c.order);
  }
}

}  // namespace
}  // namespace vz

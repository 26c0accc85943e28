// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/idalloc.h"

#include <gtest/gtest.h>

namespace vz {
namespace {

constexpr std::uint32_t kFirst = 1879048192;

TEST(IdAlloc, SubidIgnoresGarbage) {
  auto ranges = parse_subid(
      "# comment\nuser:100000:65536\nbroken\n:1:2\nx:y:z\nneg:-1:5\nzero:5:0\nmany:1:2:3\nbig:4294967295:9999999999\n"
      "over:99999999999999999999:1\n  spaced:200000:10  \nno-newline:300000:1");
  ASSERT_EQ(ranges.size(), 4u);
  EXPECT_EQ(ranges[0].base, 100000u);
  EXPECT_EQ(ranges[0].count, 65536u);
  EXPECT_EQ(ranges[1].count, 1u);  // cut at the end of all ids
  EXPECT_EQ(ranges[2].base, 200000u);
  EXPECT_EQ(ranges[3].base, 300000u);
}

TEST(IdAlloc, TakesTheLowestFree) {
  IdTable table = IdTable::parse("101 1879048192 65536\n103 1879179264 65536\n");
  auto map = choose_idmap(table, {});
  ASSERT_TRUE(map);
  EXPECT_EQ(map->base, kFirst + 65536);
  EXPECT_EQ(map->count, 65536u);
}

TEST(IdAlloc, TakesWhatIsPreferredWhenNobodyHasIt) {
  IdTable table = IdTable::parse("101 1879048192 65536\n");
  EXPECT_EQ(choose_idmap(table, {}, IdMap{kFirst + 5 * 65536})->base, kFirst + 5 * 65536);
  EXPECT_EQ(choose_idmap(table, {}, IdMap{kFirst})->base, kFirst + 65536) << "taken";
  EXPECT_EQ(choose_idmap(table, {{kFirst + 6 * 65536 - 1, 1}}, IdMap{kFirst + 5 * 65536})->base, kFirst + 65536);
  for (IdMap bad : {IdMap{0}, IdMap{1000}, IdMap{2147483647}, IdMap{kFirst + 5 * 65536, 1}, IdMap{4294967295}})
    EXPECT_EQ(choose_idmap(table, {}, bad)->base, kFirst + 65536) << bad.base;
}

TEST(IdAlloc, AvoidsForeignRangesAlsoPartialOnes) {
  struct {
    IdRange foreign;
    std::uint32_t want;
  } cases[] = {
      {{100000, 65536}, kFirst},              // elsewhere
      {{kFirst - 10, 10}, kFirst},            // ends just before
      {{kFirst - 10, 11}, kFirst + 65536},    // one id inside
      {{kFirst + 65535, 1}, kFirst + 65536},  // the last id
      {{kFirst + 65536, 1}, kFirst},          // starts just after
      {{kFirst, 65537}, kFirst + 2 * 65536},  // bases stay aligned
      {{0, kFirst + 65536ull * 3 + 1}, kFirst + 4 * 65536},
  };
  for (const auto& c : cases) {
    auto map = choose_idmap(IdTable{}, {c.foreign});
    ASSERT_TRUE(map) << c.foreign.base;
    EXPECT_EQ(map->base, c.want) << c.foreign.base << ":" << c.foreign.count;
  }
}

TEST(IdAlloc, RunsOut) {
  IdTable table;
  for (std::uint32_t i = 0; i < 4096; ++i) {
    auto map = choose_idmap(table, {});
    ASSERT_TRUE(map) << i;
    EXPECT_EQ(map->base, kFirst + i * 65536);
    table.add(100 + i, *map);
  }
  EXPECT_EQ(choose_idmap(table, {}).error().code(), Code::no_resources);
  EXPECT_TRUE(table.remove(200));
  EXPECT_EQ(choose_idmap(table, {})->base, kFirst + 100 * 65536);
}

TEST(IdAlloc, BrokenLinesAreKeptAndStayReserved) {
  const std::string text = "# by hand\n10x1 1879048192 65536\n102 1879113728 65536 what\n103 nonsense\n";
  IdTable table = IdTable::parse(text);
  EXPECT_EQ(table.text(), text);
  EXPECT_FALSE(table.find(102));
  EXPECT_EQ(choose_idmap(table, {})->base, kFirst + 2 * 65536);
  EXPECT_FALSE(table.remove(103));
}

TEST(IdAlloc, TableRoundTrip) {
  IdTable table;
  table.add(101, {kFirst, 65536});
  table.add(4294967295u, {kFirst + 65536, 65536});
  IdTable again = IdTable::parse(table.text());
  EXPECT_EQ(again.find(101)->base, kFirst);
  EXPECT_EQ(again.find(4294967295u)->base, kFirst + 65536);
  EXPECT_FALSE(again.find(7));
  EXPECT_TRUE(again.remove(101));
  EXPECT_FALSE(again.remove(101));
}

}  // namespace
}  // namespace vz

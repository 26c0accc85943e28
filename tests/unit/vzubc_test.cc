// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/ubc_table.h"

#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vzctl {
namespace {

using testing::HasSubstr;
using vz::Ub;
using vz::UbUnit;

std::string data(const std::string& file) {
  std::ifstream in(std::string(VZ_TEST_DATA) + "/beancounters/" + file);
  EXPECT_TRUE(in) << file;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::vector<vz::UbSnapshot> sample() { return *vz::parse_ub_text(data("user_beancounters"), vz::Ctid(0)); }

TEST(Vzubc, Golden) {
  EXPECT_EQ(ubc_text(sample(), {{101, "mail"}}, {}, {}), data("vzubc.txt"));
  UbcView quiet;
  quiet.quiet = quiet.relative = quiet.incremental = true;
  auto before = ubc_look(sample());
  before[101][Ub::numfile] = {400, 400, 500, 500, 30};
  before.erase(1002);
  EXPECT_EQ(ubc_text(sample(), {}, before, quiet), data("vzubc-quiet.txt"));
  EXPECT_EQ(to_json(ubc_value(sample(), before, quiet)), data("vzubc.json"));
}

TEST(Vzubc, AmountsFitTheirColumn) {
  const std::tuple<std::uint64_t, UbUnit, const char*> rows[] = {
      {0, UbUnit::bytes, "-"},
      {1, UbUnit::bytes, "1"},
      {1023, UbUnit::bytes, "1023"},
      {1024, UbUnit::bytes, "1.00K"},
      {10235, UbUnit::bytes, "10.0K"},
      {102348, UbUnit::bytes, "99.9K"},
      {1048575, UbUnit::bytes, "1.00M"},
      {16384, UbUnit::pages, "64.0M"},
      {99999, UbUnit::objects, "99999"},
      {100000, UbUnit::objects, "100K"},
      {999999, UbUnit::objects, "1.00M"},
  };
  for (const auto& [value, unit, text] : rows) EXPECT_EQ(ubc_amount(value, unit), text) << value;
  EXPECT_EQ(ubc_amount(std::nullopt, UbUnit::bytes), "n/a");
  for (std::uint64_t v = 1; v < vz::Limit::kUnlimited / 3; v = v * 3 + 1)
    for (UbUnit unit : {UbUnit::bytes, UbUnit::objects}) EXPECT_LE(ubc_amount(v, unit).size(), 5u) << v;
}

TEST(Vzubc, ChangesSinceTheLastLook) {
  auto now = sample();
  auto before = ubc_look(*vz::parse_ub_text(ubc_store(now), vz::Ctid(0)));
  EXPECT_EQ(before.at(101)[Ub::numfile].failcnt, 37u) << "stored and read back";
  EXPECT_EQ(ubc_change(before, now[0], Ub::numfile).failcnt, 0u);
  EXPECT_EQ(ubc_change(before, now[0], Ub::numfile).held, 0);
  before[101][Ub::numfile] = {421, 0, 0, 0, 30};
  EXPECT_EQ(ubc_change(before, now[0], Ub::numfile).failcnt, 7u);
  EXPECT_EQ(ubc_change(before, now[0], Ub::numfile).held, -1);
  before[101][Ub::numfile].failcnt = 100;
  EXPECT_EQ(ubc_change(before, now[0], Ub::numfile).failcnt, 37u) << "it was restarted";
  EXPECT_EQ(ubc_change({}, now[0], Ub::numfile).failcnt, 37u);
  EXPECT_FALSE(ubc_change({}, now[0], Ub::numfile).held);
}

TEST(Vzubc, QuietIsAboutBarriersAndLimits) {
  vz::UbSnapshot s;
  s.id = vz::Ctid(5);
  s[Ub::numpty] = {8, 8, 16, 16, 0};
  s[Ub::numflock] = {7, 7, 16, 16, 0};
  UbcView v;
  v.quiet = true;
  auto text = ubc_text({s}, {}, {}, v);
  EXPECT_THAT(text, HasSubstr("numpty"));
  EXPECT_EQ(text.find("numflock"), text.npos);
  v.quiet_held = v.quiet_maxheld = 0;
  EXPECT_EQ(ubc_text({s}, {}, {}, v), "");
}

// `vzctl help --rst beancounters` prints what belongs between the two marks.
TEST(Vzubc, TheManualHasTheTable) {
  std::ifstream in(std::string(VZ_TEST_DATA) + "/../../Documentation/accounting.rst");
  std::string text(std::istreambuf_iterator<char>(in), {});
  const std::string begin = ".. table of the code begins\n\n", end = "\n.. table of the code ends\n";
  auto from = text.find(begin), to = text.find(end);
  ASSERT_TRUE(from != text.npos && to != text.npos);
  EXPECT_EQ(text.substr(from + begin.size(), to - from - begin.size()), ubc_rst());
}

TEST(Vzubc, NamesAreNotTrusted) {
  vz::UbSnapshot s;
  s.id = vz::Ctid(5);
  EXPECT_EQ(ubc_text({s}, {{5, "a\x1b[31m"}}, {}, {}).find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace vzctl

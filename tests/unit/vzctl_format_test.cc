// SPDX-License-Identifier: GPL-2.0-or-later
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vzctl/format.h"
#include "vzctl/reporter.h"

namespace vzctl {
namespace {

using testing::HasSubstr;

Table sample() {
  Table t{{{"ctid", "CTID", 6, {}}, {"name", "NAME", -8, {}}, {"ub", "UB", 4, {"held", "limit"}}}, {}};
  t.rows.push_back({{"101", std::uint64_t{101}},
                    {"web, \"x\"", "web, \"x\""},
                    {"5", Value::Object{{"held", std::uint64_t{5}}, {"limit", Value()}}}});
  t.rows.push_back({{"7", std::uint64_t{7}}, {"-", Value()}, {"-", Value()}});
  return t;
}

TEST(Format, TextJoinsByOneBlankAndCutsTrailingOnes) {
  EXPECT_EQ(to_text(sample(), {}), "  CTID NAME       UB\n   101 web, \"x\"    5\n     7 -           -\n");
  Table t = sample();
  for (auto& row : t.rows) row.resize(2);
  t.columns.resize(2);
  EXPECT_EQ(to_text(t, {.header = false}), "   101 web, \"x\"\n     7 -\n");
}

TEST(Format, WideValuesAreNotCutByThePrinter) {
  Table t{{{"a", "A", 2, {}}}, {{{"12345", 1}}}};
  EXPECT_EQ(to_text(t, {}), " A\n12345\n");
}

TEST(Format, FitWidensToUtf8WidthNotBytes) {
  Table t{{{"a", "A", -1, {}}, {"b", "B", -1, {}}}, {{{"\xc3\xa4\xc3\xb6", 1}, {"x", 1}}, {{"abc", 1}, {"y", 1}}}};
  EXPECT_EQ(to_text(t, {.fit = true}), "A   B\n\xc3\xa4\xc3\xb6  x\nabc y\n");
}

TEST(Format, ControlCharactersNeverReachTheTerminal) {
  Table t{{{"a", "A", -1, {}}}, {{{"x\x1b[2Jy\nz", 1}}}};
  EXPECT_EQ(to_text(t, {.header = false}), "x?[2Jy z\n");
  EXPECT_EQ(printable("a\x7f\xc2\x9bz\tq"), "a???z\tq");
}

TEST(Format, ColourIsOutsideThePadding) {
  Table t{{{"a", "A", 6, {}}}, {{{"bad", 1, Tone::bad}}}};
  EXPECT_EQ(to_text(t, {.header = false, .color = true}), "   \x1b[31mbad\x1b[0m\n");
}

TEST(Format, CsvQuotesAndSplitsObjects) {
  EXPECT_EQ(to_csv(sample(), true), "ctid,name,ub.held,ub.limit\n101,\"web, \"\"x\"\"\",5,\n7,,,\n");
}

TEST(Format, JsonKeepsKeyOrderAndIntegers) {
  std::string json = to_json(to_value(sample()));
  EXPECT_THAT(json, HasSubstr("    \"ctid\": 101,\n    \"name\": \"web, \\\"x\\\"\",\n"));
  EXPECT_THAT(json, HasSubstr("\"limit\": null"));
  EXPECT_EQ(to_json(Value::List{}), "[]\n");
  EXPECT_EQ(to_json(std::uint64_t{9223372036854775807u}), "9223372036854775807\n");
  EXPECT_EQ(to_json("\xff"), "\"\xef\xbf\xbd\"\n");
}

TEST(Format, YamlNests) {
  Value v = Value::List{Value::Object{{"a", 1}, {"b", Value::List{"x", "y"}}, {"c", Value::Object{{"d", true}}}}};
  EXPECT_EQ(to_yaml(v), "- a: 1\n  b:\n    - \"x\"\n    - \"y\"\n  c:\n    d: true\n");
  EXPECT_EQ(to_yaml(Value::List{}), "[]\n");
}

TEST(Format, UnknownFormatNamesTheChoices) {
  auto r = parse_format("xml");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), vz::Code::bad_syntax);
  EXPECT_THAT(r.error().message(), HasSubstr("xml"));
}

TEST(Format, HumanBytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(~0ull), "16.0 EiB");
}

TEST(Progress, ShowsPercentAndTimeLeft) {
  using std::chrono::milliseconds;
  EXPECT_EQ(progress_line("unpack", 50, 100, milliseconds(10000), 40), "unpack [#######........]  50%  ETA 0:10");
  EXPECT_THAT(progress_line("unpack", 200, 100, milliseconds(1000), 80), HasSubstr(" 100%"));
  EXPECT_EQ(progress_line("unpack", 5, 0, milliseconds(65000), 80), "unpack 1:05");
  EXPECT_LE(progress_line("unpack", 1, 3, milliseconds(99999999), 30).size(), 34u);
  EXPECT_EQ(progress_json("unpack", 5, 100), R"({"stage":"unpack","done":5,"total":100})");
  EXPECT_EQ(progress_json("copy", 5, 0), R"({"stage":"copy","done":5,"total":null})");
}

}  // namespace
}  // namespace vzctl

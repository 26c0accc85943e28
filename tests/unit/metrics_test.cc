// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/metrics.h"

#include <gtest/gtest.h>

#include <cmath>

#include <vz/pressure.h>
#include "vzctl/vzstat.h"

namespace vzctl {
namespace {

TEST(MetricText, Families) {
  MetricText text;
  text.family("vz_cpu_seconds", MetricText::Type::counter, "seconds", "CPU time.");
  text.add_nanoseconds({{"ctid", "101"}}, 1000000001);
  text.add_nanoseconds({}, 0);
  text.family("vz_limit", MetricText::Type::gauge, "", "Limit.");
  text.add({{"ctid", "101"}, {"resource", "numfile"}}, HUGE_VAL);
  text.add({}, std::uint64_t{18446744073709551615u});
  text.add({}, 0.25);
  EXPECT_EQ(std::move(text).finish(),
            "# TYPE vz_cpu_seconds counter\n# UNIT vz_cpu_seconds seconds\n# HELP vz_cpu_seconds CPU time.\n"
            "vz_cpu_seconds_total{ctid=\"101\"} 1.000000001\nvz_cpu_seconds_total 0.000000000\n"
            "# TYPE vz_limit gauge\n# HELP vz_limit Limit.\n"
            "vz_limit{ctid=\"101\",resource=\"numfile\"} +Inf\nvz_limit 18446744073709551615\nvz_limit 0.25\n# EOF\n");
}

TEST(MetricText, LabelsCannotBreakOut) {
  EXPECT_EQ(escape_label("a\\b\"c"), "a\\\\b\\\"c");
  EXPECT_EQ(escape_label("x\n\"} 1"), "x\\n\\\"} 1");
  EXPECT_EQ(escape_label("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(escape_label("caf\xe9!"), "caf?!") << "no UTF-8";
  EXPECT_EQ(escape_label("\xc3"), "?");
}

TEST(Pressure, File) {
  auto p = vz::parse_pressure(
      "some avg10=1.50 avg60=0.25 avg300=0.00 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
  ASSERT_TRUE(p.some && p.full);
  EXPECT_DOUBLE_EQ(p.some->avg10, 1.5);
  EXPECT_DOUBLE_EQ(p.some->avg60, 0.25);
  EXPECT_EQ(p.some->total_us, 123456u);
  EXPECT_EQ(p.full->total_us, 7u);
  EXPECT_FALSE(vz::parse_pressure("").some);
}

TEST(Moment, Forms) {
  EXPECT_EQ(*parse_moment("@1793491200", 0), 1793491200);
  EXPECT_EQ(*parse_moment("30d", 10000000), 10000000 - 30 * 86400);
  EXPECT_EQ(*parse_moment("12h", 10000000), 10000000 - 12 * 3600);
  EXPECT_EQ(*parse_moment("2026-11-01 06:30", 0) - *parse_moment("2026-11-01", 0), 6 * 3600 + 1800);
  EXPECT_EQ(*parse_moment("2026-11-01T00:00:05", 0) - *parse_moment("2026-11-01", 0), 5);
  for (const char* bad : {"", "@", "@-1", "@x", "5", "5w", "d", "2026-02-30", "2026-13-01", "2026-11-01 25:00", "now",
                          "2026-11-01 06:30 x"})
    EXPECT_FALSE(parse_moment(bad, 0)) << bad;
}

}  // namespace
}  // namespace vzctl

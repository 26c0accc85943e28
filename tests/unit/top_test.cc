// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/top.h"

#include <gtest/gtest.h>

namespace vzctl {
namespace {

TopContainer container(std::uint32_t id, std::uint64_t cpu_ns) {
  TopContainer ct;
  ct.id = vz::Ctid(id);
  ct.usage.cpu_ns = cpu_ns;
  return ct;
}

struct TwoReadings {
  TopReading before, now;
  TwoReadings() {
    now.time = before.time + std::chrono::seconds(2);
    before.containers = {container(101, 1000000000), container(102, 0)};
    now.containers = {container(101, 2000000000), container(102, 4000000000u), container(103, 9000000000u)};
  }
};

TEST(Top, RatesArePerSecond) {
  TwoReadings r;
  r.before.containers[0].usage.read_bytes = 100;
  r.now.containers[0].usage.read_bytes = 2100;
  r.before.containers[0].usage.traffic.ip4_in[3] = {1000, 1};
  r.now.containers[0].usage.traffic.ip4_in[3] = {3000, 3};
  r.now.containers[0].usage.traffic.ip6_in[0] = {400, 1};
  auto rows = top_rows(r.now, &r.before);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_DOUBLE_EQ(*rows[0].cpu, 50);
  EXPECT_DOUBLE_EQ(*rows[1].cpu, 200);
  EXPECT_FALSE(rows[2].cpu) << "it was not there before";
  EXPECT_DOUBLE_EQ(*rows[0].read, 1000);
  EXPECT_DOUBLE_EQ(*rows[0].in, 1200);
  EXPECT_FALSE(top_rows(r.now, nullptr)[0].cpu);
}

TEST(Top, RefusalsAreCountedFromTheReadingBefore) {
  TwoReadings r;
  r.before.containers[0].beancounters.emplace();
  r.now.containers[0].beancounters.emplace();
  (*r.before.containers[0].beancounters)[vz::Ub::numfile].failcnt = 5;
  (*r.now.containers[0].beancounters)[vz::Ub::numfile].failcnt = 8;
  (*r.now.containers[0].beancounters)[vz::Ub::numproc].failcnt = 1;
  auto rows = top_rows(r.now, &r.before);
  EXPECT_EQ(rows[0].failures, 4u);
  EXPECT_FALSE(rows[1].failures);
  auto lines = top_details(r.now.containers[0], &r.before.containers[0], 2);
  EXPECT_TRUE(std::any_of(lines.begin(), lines.end(),
                          [](const std::string& line) { return line.starts_with("numfile") && line.ends_with("+3"); }));
}

TEST(Top, Sorting) {
  TwoReadings r;
  auto order = [&](const char* key, bool reverse) {
    auto rows = top_rows(r.now, &r.before);
    sort_top(rows, *parse_top_sort(key), reverse);
    std::string out;
    for (const auto& row : rows) out += row.id.str() + " ";
    return out;
  };
  EXPECT_EQ(order("cpu", false), "102 101 103 ");
  EXPECT_EQ(order("cpu", true), "103 101 102 ");
  EXPECT_EQ(order("ctid", true), "103 102 101 ");
  EXPECT_EQ(order("ram", false), "101 102 103 ") << "equal ones by number";
  EXPECT_FALSE(parse_top_sort("x"));
  for (const char* key : {"ctid", "name", "cpu", "ram", "swap", "nproc", "psi", "io", "net", "fail"})
    EXPECT_STREQ(top_sort_name(*parse_top_sort(key)), key);
}

TEST(Top, WhatIsNotKnownIsADash) {
  TwoReadings r;
  auto text = to_text(top_table(top_rows(r.now, nullptr)), {});
  EXPECT_NE(text.find("101 -"), std::string::npos) << text;
  EXPECT_EQ(text.find("0.0"), std::string::npos) << text;
}

TEST(Top, ShortBytes) {
  EXPECT_EQ(short_bytes(0), "0");
  EXPECT_EQ(short_bytes(999), "999");
  EXPECT_EQ(short_bytes(1024), "1.0K");
  EXPECT_EQ(short_bytes(1000), "1.0K");
  EXPECT_EQ(short_bytes(20 << 20), "20M");
  EXPECT_LE(short_bytes(1.9e19).size(), 4u);
}

}  // namespace
}  // namespace vzctl

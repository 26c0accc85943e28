// SPDX-License-Identifier: GPL-2.0-or-later
#include <vz/split.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vz/validate.h>

namespace vz {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = 1u << 20;

SplitRoom room() {
  SplitRoom r;
  r.memory.ram = 4096 * kMiB;
  r.memory.swap = 1000 * kMiB;
  r.memory.pids = 32768;
  r.disk = 100 * 1024 * kMiB;
  return r;
}

TEST(Split, PartsAreEqualAndTheHostKeepsSome) {
  auto c = split_host(room(), 10, std::nullopt);
  ASSERT_TRUE(c);
  // 4096 - 204.8 MiB for the host
  EXPECT_EQ(c->get("PHYSPAGES"), "0:389M");
  EXPECT_EQ(c->get("SWAPPAGES"), "0:100M");
  EXPECT_EQ(c->limit("NUMPROC"), (Limit{2949, 2949}));
  EXPECT_EQ(c->limit("DISKSPACE")->limit, 9216u * 1024);
  EXPECT_LT(c->limit("DISKSPACE")->barrier, c->limit("DISKSPACE")->limit);
}

TEST(Split, NPartsNeverExceedTheWhole) {
  auto r = room();
  for (std::uint64_t n : {1u, 2u, 3u, 7u, 50u, 100u}) {
    auto c = split_host(r, n, std::nullopt);
    ASSERT_TRUE(c) << n;
    EXPECT_LE(c->limit("PHYSPAGES")->limit * 4096 * n, r.memory.ram) << n;
    EXPECT_LE(c->limit("SWAPPAGES")->limit * 4096 * n, r.memory.swap) << n;
    EXPECT_LE(c->limit("DISKSPACE")->limit * 1024 * n, r.disk) << n;
    EXPECT_LE(c->limit("NUMPROC")->limit * n, r.memory.pids) << n;
  }
}

TEST(Split, ResultIsAValidConfiguration) {
  for (std::uint64_t n : {1u, 13u, 100u}) {
    auto c = split_host(room(), n, std::nullopt);
    ASSERT_TRUE(c);
    auto v = validate_config(c->text(), "sample", {{}, room().memory.ram});
    EXPECT_TRUE(v.findings.empty()) << v.findings[0].where << v.findings[0].text;
    EXPECT_TRUE(v.vswap);
  }
}

TEST(Split, GivenSwapReplacesTheHosts) {
  EXPECT_EQ(split_host(room(), 4, 8192 * kMiB)->get("SWAPPAGES"), "0:2048M");
  EXPECT_EQ(split_host(room(), 4, 0)->limit("SWAPPAGES")->limit, 0u);
  EXPECT_FALSE(split_host(room(), 1, ~std::uint64_t{0}));
}

TEST(Split, AbsurdNumbersAreRefusedWithWhatWouldFit) {
  auto many = split_host(room(), 1000, std::nullopt);
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().code(), Code::no_resources);
  EXPECT_THAT(many.error().message(), HasSubstr("RAM"));
  EXPECT_THAT(many.error().hint(), HasSubstr("121 would fit"));
  EXPECT_TRUE(split_host(room(), 121, std::nullopt)) << "what the hint says does fit";
  EXPECT_FALSE(split_host(room(), 122, std::nullopt));
  EXPECT_FALSE(split_host(room(), 0, std::nullopt));
  EXPECT_FALSE(split_host(room(), ~std::uint64_t{0}, std::nullopt));
  auto r = room();
  r.disk = 100 * kMiB;
  EXPECT_THAT(split_host(r, 2, std::nullopt).error().message(), HasSubstr("disk"));
  r = room();
  r.memory.pids = 64;
  EXPECT_THAT(split_host(r, 2, std::nullopt).error().message(), HasSubstr("processes"));
}

}  // namespace
}  // namespace vz

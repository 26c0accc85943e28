// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/features.h"

#include <chrono>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libvz/kernel/features.h"

namespace vz {
namespace {

std::string data(const std::string& name) { return std::string(VZ_TEST_DATA) + "/" + name; }

TEST(Features, UnknownAndMissingAreFalse) {
  Features f;
  f.add({"loop", true, "", "c", "r"});
  f.add({"tun", false, "", "c", "r"});
  EXPECT_TRUE(f.has("loop"));
  EXPECT_FALSE(f.has("tun"));
  EXPECT_FALSE(f.has("no.such.feature"));
}

TEST(Features, EveryRowSaysWhatItMeansAndWhatHelps) {
  auto host = CgroupHost::probe(data("host-v1"));
  ASSERT_TRUE(host);
  const auto features = probe_features({}, *host, "/no/such/path");
  std::set<std::string> names;
  for (const auto& f : features.all()) {
    EXPECT_TRUE(names.insert(f.name).second) << f.name << " is listed twice";
    EXPECT_GT(std::string(f.consequence).size(), 10u) << f.name;
    EXPECT_GT(std::string(f.remedy).size(), 5u) << f.name;
    EXPECT_TRUE(f.present || !f.detail.empty()) << f.name << " does not say why it is missing";
  }
  EXPECT_TRUE(features.has("cgroup.memory"));
  EXPECT_FALSE(features.has("cgroup.io")) << "switched off by cgroup_disable=";
  EXPECT_FALSE(features.has("cgroup.v2"));
  EXPECT_FALSE(features.has("cgroup.kill"));
}

TEST(Features, CgroupRowsNameTheirPlace) {
  auto host = CgroupHost::probe(data("host-v2"));
  ASSERT_TRUE(host);
  EXPECT_THAT(find_controller(*host, Controller::memory).detail, testing::StartsWith("v2 at "));
  EXPECT_THAT(find_cgroup2(*host).detail, testing::Not(testing::HasSubstr("v1")));
  EXPECT_EQ(find_swap_accounting(*host).detail, "memory.swap.max");
  auto hybrid = CgroupHost::probe(data("host-hybrid"));
  ASSERT_TRUE(hybrid);
  EXPECT_THAT(find_cgroup2(*hybrid).detail, testing::HasSubstr("controllers are on v1"));
}

TEST(Features, ProbesOfThisKernelDoNotLie) {
  EXPECT_TRUE(find_filesystem("proc").present);
  EXPECT_FALSE(find_filesystem("nosuchfs").present);
  EXPECT_FALSE(find_device("/no/such/device").present);
  EXPECT_FALSE(find_link_type("nosuchkind").present);
}

}  // namespace
}  // namespace vz

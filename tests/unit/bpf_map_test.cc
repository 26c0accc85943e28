// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/kernel/bpf_map.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vz {
namespace {

// A map that nobody pins; invalid where bpf(2) is not for us.
BpfMap make_map(std::uint32_t value_size, std::uint32_t entries) {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.map_type = BPF_MAP_TYPE_HASH;
  attr.key_size = sizeof(std::uint64_t);
  attr.value_size = value_size;
  attr.max_entries = entries;
  return BpfMap(UniqueFd(static_cast<int>(::syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr))), value_size);
}

class BpfMapTest : public testing::Test {
 protected:
  void SetUp() override {
    vz_state value{};
    if (!map_.lookup(1, &value)) GTEST_SKIP() << "bpf(2) needs CAP_BPF";
  }
  BpfMap map_ = make_map(sizeof(vz_state), 4);
};

TEST_F(BpfMapTest, EntriesComeAndGo) {
  vz_state in{}, out{};
  in.privvm_held = 7;
  in.vswap_since_ns = 9;
  EXPECT_FALSE(*map_.lookup(42, &out));
  ASSERT_TRUE(map_.set(42, &in));
  ASSERT_TRUE(*map_.lookup(42, &out));
  EXPECT_EQ(std::memcmp(&in, &out, sizeof in), 0);
  EXPECT_TRUE(*map_.remove(42));
  EXPECT_FALSE(*map_.remove(42));
}

TEST_F(BpfMapTest, AddLeavesWhatIsThere) {
  vz_state first{}, second{}, out{};
  first.swapin_pages = 1;
  EXPECT_TRUE(*map_.add(42, &first));
  EXPECT_FALSE(*map_.add(42, &second));
  ASSERT_TRUE(*map_.lookup(42, &out));
  EXPECT_EQ(out.swapin_pages, 1u);
}

TEST_F(BpfMapTest, FullMapSaysSo) {
  vz_state value{};
  for (std::uint64_t key = 0; key < 4; ++key) ASSERT_TRUE(map_.set(key, &value));
  auto full = map_.set(4, &value);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), Code::no_resources);
  EXPECT_FALSE(full.error().hint().empty());
}

TEST_F(BpfMapTest, KeysAreListed) {
  EXPECT_TRUE(map_.keys()->empty());
  vz_state value{};
  for (std::uint64_t key : {30, 10, 20}) ASSERT_TRUE(map_.set(key, &value));
  EXPECT_EQ(*map_.keys(), (std::vector<std::uint64_t>{10, 20, 30}));
}

TEST(BpfMapEntries, AllInFewCalls) {
  auto map = make_map(sizeof(vz_ub), 4096);
  vz_ub value{};
  if (!map.lookup(1, &value)) GTEST_SKIP() << "bpf(2) needs CAP_BPF";
  EXPECT_TRUE(map.entries()->keys.empty());
  for (std::uint64_t key = 1; key <= 3000; ++key) {
    value.held[VZ_UB_NUMFILE] = key;
    ASSERT_TRUE(map.set(key, &value));
  }
  auto all = map.entries();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->keys.size(), 3000u);
  ASSERT_EQ(all->values.size(), 3000u * sizeof(vz_ub));
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < 3000; ++i) {
    std::memcpy(&value, all->values.data() + i * sizeof value, sizeof value);
    EXPECT_EQ(value.held[VZ_UB_NUMFILE], all->keys[i]);
    sum += all->keys[i];
  }
  EXPECT_EQ(sum, 3000u * 3001 / 2);
}

TEST(UbMaps, NothingPinnedIsUnsupportedAndSaysWhatToDo) {
  const char* nowhere = "/sys/fs/bpf/vz-unit-test-that-nobody-makes";
  EXPECT_FALSE(UbMaps::present(nowhere));
  auto maps = UbMaps::open(nowhere);
  ASSERT_FALSE(maps);
  EXPECT_EQ(maps.error().code(), Code::unsupported);
  EXPECT_FALSE(maps.error().hint().empty());
}

TEST(BpfMaps, NothingPinnedIsUnsupportedAndSaysWhatToDo) {
  const char* nowhere = "/sys/fs/bpf/vz-unit-test-that-nobody-makes";
  EXPECT_FALSE(BpfMaps::present(nowhere));
  EXPECT_FALSE(BpfMaps::attached("vswap_in", nowhere));
  auto maps = BpfMaps::open(nowhere);
  ASSERT_FALSE(maps);
  EXPECT_EQ(maps.error().code(), Code::unsupported);
  EXPECT_NE(maps.error().message().find("vz_conf"), std::string::npos);
  EXPECT_FALSE(maps.error().hint().empty());
}

// The programs are compiled on their own: what they and libvz agree on is the layout.
TEST(BpfMaps, LayoutIsTheOneOfItsNumber) {
  EXPECT_EQ(VZ_BPF_LAYOUT, 1);
  EXPECT_EQ(sizeof(vz_conf), 40u);
  EXPECT_EQ(sizeof(vz_state), 64u);
  EXPECT_EQ(sizeof(vz_ub_conf), 400u);
  EXPECT_EQ(sizeof(vz_ub), 608u);
  EXPECT_EQ(offsetof(vz_conf, flags), 28u);
  EXPECT_EQ(offsetof(vz_state, privvm_failcnt), 48u);
}

}  // namespace
}  // namespace vz

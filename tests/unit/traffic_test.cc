// SPDX-License-Identifier: GPL-2.0-or-later
// networks_classes, and the program that counts: run by the kernel on frames made here.
#include "libvz/container/traffic.h"

#include <gtest/gtest.h>

#include <cstring>

#include <arpa/inet.h>

#include <bpf/bpf.h>

#include "libvz/kernel/traffic_program.h"

namespace vz {
namespace {

using Bytes = std::vector<std::uint8_t>;

Result<std::vector<ClassedNetwork>> parse(const std::string& text) { return parse_network_classes(text, "FILE"); }

TEST(NetworkClasses, WithoutLinesEverythingIsClassOne) {
  auto list = parse("");
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 2u);
  EXPECT_FALSE((*list)[0].v6);
  EXPECT_TRUE((*list)[1].v6);
  for (const auto& n : *list) {
    EXPECT_EQ(n.prefix, 0u);
    EXPECT_EQ(n.traffic_class, 1u);
  }
}

TEST(NetworkClasses, FileOfOpenvz) {
  auto list = parse(
      "# server's networks\n0 10.10.10.0/24\n\n# all\n1 0.0.0.0/0\n1\t::/0\n  2 11.0.0.0/8  # foreign\n15 "
      "2001:db8::/32\n3 192.0.2.1\n");
  ASSERT_TRUE(list) << list.error().message();
  ASSERT_EQ(list->size(), 8u);
  EXPECT_EQ((*list)[2].traffic_class, 0u);
  EXPECT_EQ((*list)[2].prefix, 24u);
  EXPECT_EQ((*list)[2].address[2], 10u);
  EXPECT_EQ((*list)[6].traffic_class, 15u);
  EXPECT_TRUE((*list)[6].v6);
  EXPECT_EQ((*list)[7].prefix, 32u) << "an address alone";
}

TEST(NetworkClasses, WrongLinesAreNamed) {
  for (const char* line : {"16 10.0.0.0/8", "-1 10.0.0.0/8", "x 10.0.0.0/8", "1 10.0.0.0/33", "1 ::/129", "1 10.0.0/8",
                           "1", "1 10.0.0.0/8 x", "1 10.0.0.0/", "1 10.0.0.0/-1", "1 example.org/8", "1 :::/0",
                           "99999999999999999999 10.0.0.0/8"}) {
    auto list = parse(std::string("0 10.0.0.0/8\n") + line + "\n");
    ASSERT_FALSE(list) << line;
    EXPECT_EQ(list.error().code(), Code::bad_config);
    EXPECT_NE(list.error().message().find("FILE: line 2"), std::string::npos) << list.error().message();
  }
}

Bytes packet4(const char* source, const char* destination, std::uint8_t protocol, std::size_t size) {
  Bytes f(14 + size);
  f[12] = 0x08;
  f[14] = 0x45;
  f[14 + 9] = protocol;
  inet_pton(AF_INET, source, &f[14 + 12]);
  inet_pton(AF_INET, destination, &f[14 + 16]);
  if (protocol == 6 && size >= 40) f[14 + 20 + 12] = 8 << 4;  // a TCP header of 32 bytes
  return f;
}

Bytes packet6(const char* source, const char* destination, std::uint8_t protocol, std::size_t size) {
  Bytes f(14 + size);
  f[12] = 0x86;
  f[13] = 0xdd;
  f[14] = 0x60;
  f[14 + 6] = protocol;
  inet_pton(AF_INET6, source, &f[14 + 8]);
  inet_pton(AF_INET6, destination, &f[14 + 24]);
  if (protocol == 6 && size >= 60) f[14 + 40 + 12] = 8 << 4;
  return f;
}

class TrafficProgram : public testing::Test {
 protected:
  static constexpr std::uint32_t kCtid = 4000000000;

  void SetUp() override {
    auto maps = TrafficMaps::make_private(*parse("2 10.0.0.0/8\n3 10.1.0.0/16\n4 2001:db8::/32\n0 192.0.2.0/24\n"));
    if (!maps) GTEST_SKIP() << maps.error().message();
    maps_.emplace(std::move(*maps));
    vz_net zero{};
    std::uint32_t id = kCtid;
    ASSERT_EQ(bpf_map_update_elem(maps_->counts_fd(), &id, &zero, BPF_ANY), 0);
    for (auto direction : {VZ_NET_IN, VZ_NET_OUT}) {
      auto code = build_traffic_program(kCtid, direction, maps_->counts_fd(), maps_->classes_fd());
      static char log[1 << 16];
      bpf_prog_load_opts options{};
      options.sz = sizeof options;
      options.log_level = 1;
      options.log_buf = log;
      options.log_size = sizeof log;
      program_[direction] =
          UniqueFd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "t", "GPL", code.data(), code.size(), &options));
      ASSERT_TRUE(program_[direction]) << log;
    }
  }

  // `gso`: bytes of payload in each of the packets that this one stands for.
  void pass(vz_net_direction direction, const Bytes& frame, std::uint32_t gso = 0) {
    __sk_buff context{};
    context.gso_size = gso;
    bpf_test_run_opts run{};
    run.sz = sizeof run;
    run.data_in = frame.data();
    run.data_size_in = static_cast<__u32>(frame.size());
    run.ctx_in = &context;
    run.ctx_size_in = sizeof context;
    ASSERT_EQ(bpf_prog_test_run_opts(program_[direction].get(), &run), 0) << strerror(errno);
    EXPECT_EQ(static_cast<std::int32_t>(run.retval), -1) << "it never drops anything";
  }

  Traffic traffic() {
    auto counts = maps_->read(kCtid);
    EXPECT_TRUE(counts && *counts);
    return to_traffic(**counts);
  }

  std::optional<TrafficMaps> maps_;
  UniqueFd program_[VZ_NET_DIRECTIONS];
};

TEST_F(TrafficProgram, ClassOfThePeerDecides) {
  pass(VZ_NET_OUT, packet4("10.9.9.9", "10.200.0.1", 17, 100));
  pass(VZ_NET_OUT, packet4("10.9.9.9", "10.1.0.1", 17, 200));
  pass(VZ_NET_OUT, packet4("10.9.9.9", "8.8.8.8", 17, 300));
  pass(VZ_NET_IN, packet4("192.0.2.7", "10.9.9.9", 17, 400));
  Traffic expected;
  expected.ip4_out[2] = {100, 1};
  expected.ip4_out[3] = {200, 1};
  expected.ip4_out[1] = {300, 1};
  expected.ip4_in[0] = {400, 1};
  EXPECT_EQ(traffic(), expected);
}

TEST_F(TrafficProgram, Ip6) {
  pass(VZ_NET_IN, packet6("2001:db8:ffff::1", "fd00::1", 17, 60));
  pass(VZ_NET_OUT, packet6("fd00::1", "2001:db9::1", 58, 61));
  Traffic expected;
  expected.ip6_in[4] = {60, 1};
  expected.ip6_out[1] = {61, 1};
  EXPECT_EQ(traffic(), expected);
}

TEST_F(TrafficProgram, WhatIsNotIpIsKeptApart) {
  Bytes arp(14 + 28);
  arp[12] = 0x08;
  arp[13] = 0x06;
  pass(VZ_NET_OUT, arp);
  Bytes tagged = packet4("10.9.9.9", "10.1.0.1", 17, 100);
  tagged[12] = 0x88;  // 802.1ad with an IPv4 packet somewhere below: unknown, but counted
  tagged[13] = 0xa8;
  pass(VZ_NET_OUT, tagged);
  Traffic expected;
  expected.other_out = {128, 2};
  EXPECT_EQ(traffic(), expected);
}

TEST_F(TrafficProgram, LinkLocalMulticastIsNobodysNetwork) {
  pass(VZ_NET_IN, packet6("fe80::1", "ff02::16", 0, 76));  // an MLD report of the kernel
  pass(VZ_NET_OUT, packet4("10.9.9.9", "224.0.0.22", 2, 40));
  pass(VZ_NET_OUT, packet4("10.9.9.9", "224.0.1.22", 17, 50));
  pass(VZ_NET_OUT, packet6("fd00::1", "ff05::2", 17, 51));
  Traffic expected;
  expected.other_in = {76, 1};
  expected.other_out = {40, 1};
  expected.ip4_out[1] = {50, 1};
  expected.ip6_out[1] = {51, 1};
  EXPECT_EQ(traffic(), expected);
}

TEST_F(TrafficProgram, OnePacketThatStandsForMany) {
  // TCP: 3000 bytes in packets of 1448, with 20 + 32 bytes of headers each.
  pass(VZ_NET_OUT, packet4("10.9.9.9", "8.8.8.8", 6, 52 + 3000), 1448);
  pass(VZ_NET_IN, packet6("2001:db8::1", "fd00::1", 6, 72 + 2896), 1448);
  pass(VZ_NET_IN, packet4("8.8.8.8", "10.9.9.9", 17, 28 + 3000), 600);
  Traffic expected;
  expected.ip4_out[1] = {3 * 52 + 3000, 3};
  expected.ip6_in[4] = {2 * 72 + 2896, 2};
  expected.ip4_in[1] = {5 * 28 + 3000, 5};
  EXPECT_EQ(traffic(), expected);
}

TEST_F(TrafficProgram, ClassesAreExchangedForAllAtOnce) {
  pass(VZ_NET_OUT, packet4("10.9.9.9", "8.8.8.8", 17, 100));
  ASSERT_TRUE(maps_->set_classes(*parse("15 8.8.0.0/16\n")));
  pass(VZ_NET_OUT, packet4("10.9.9.9", "8.8.8.8", 17, 100));
  pass(VZ_NET_OUT, packet4("10.9.9.9", "10.1.0.1", 17, 100));
  Traffic expected;
  expected.ip4_out[1] = {200, 2};
  expected.ip4_out[15] = {100, 1};
  EXPECT_EQ(traffic(), expected);
}

TEST_F(TrafficProgram, AllContainersInOneReading) {
  for (std::uint32_t id = 1; id <= 3000; ++id) {
    vz_net counts{};
    counts.ip[VZ_NET_IP4][VZ_NET_IN][id % 16].bytes = id;
    ASSERT_EQ(bpf_map_update_elem(maps_->counts_fd(), &id, &counts, BPF_ANY), 0);
  }
  auto all = maps_->read_all();
  ASSERT_TRUE(all) << all.error().message();
  EXPECT_EQ(all->size(), 3001u);
  for (const auto& [id, counts] : *all)
    if (id != kCtid) {
      EXPECT_EQ(counts.ip[VZ_NET_IP4][VZ_NET_IN][id % 16].bytes, id);
    }
}

TEST_F(TrafficProgram, WithoutAnEntryNothingIsCounted) {
  ASSERT_TRUE(maps_->forget(kCtid));
  ASSERT_TRUE(maps_->forget(kCtid));
  pass(VZ_NET_OUT, packet4("10.9.9.9", "8.8.8.8", 17, 100));
  EXPECT_FALSE(*maps_->read(kCtid));
}

}  // namespace
}  // namespace vz

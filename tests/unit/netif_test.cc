// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "libvz/container/network.h"

namespace vz {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Netif, ReadsTheFilesForm) {
  auto list = parse_netif(
      "ifname=eth0,bridge=vmbr0,mac=00:18:51:AA:BB:CC,host_ifname=veth101.0,host_mac=fe:18:51:aa:bb:cc;"
      " ifname=eth1 , mac_filter=off ;");
  ASSERT_TRUE(list) << list.error().message();
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0], (Netif{"eth0", "vmbr0", "00:18:51:aa:bb:cc", "veth101.0", "fe:18:51:aa:bb:cc", true}));
  EXPECT_EQ((*list)[1], (Netif{"eth1", "", "", "", "", false}));
  EXPECT_TRUE(parse_netif("")->empty());
  EXPECT_TRUE(parse_netif(" ; ;").value().empty());
  EXPECT_TRUE(parse_netif("ifname=eth0,mac_filter=on").value()[0].mac_filter);
  EXPECT_TRUE(parse_netif("ifname=eth0,mac_filter=,mac=,host_mac=").value()[0].mac_filter);
}

TEST(Netif, WritesWhatItReads) {
  std::vector<Netif> list = {{"eth0", "vmbr0", "00:18:51:aa:bb:cc", "veth101.0", "fe:18:51:aa:bb:cc", true},
                             {"eth1", "", "00:18:51:aa:bb:cd", "veth101.1", "", false}};
  std::string text = format_netif(list);
  EXPECT_EQ(text,
            "ifname=eth0,bridge=vmbr0,mac=00:18:51:aa:bb:cc,host_ifname=veth101.0,host_mac=fe:18:51:aa:bb:cc;"
            "ifname=eth1,mac=00:18:51:aa:bb:cd,host_ifname=veth101.1,mac_filter=off");
  EXPECT_EQ(*parse_netif(text), list);
  EXPECT_EQ(format_netif({}), "");
}

TEST(Netif, RefusesBadFiles) {
  std::string many;
  for (int i = 0; i < 300; ++i) many += "ifname=eth" + std::to_string(i) + ";";
  for (const std::string& text :
       {std::string("eth0"), std::string("bridge=br0"), std::string("ifname="), std::string("ifname=eth0,mac=1"),
        std::string("ifname=eth0,mac=01:00:00:00:00:01"), std::string("ifname=eth0,nic=1"),
        std::string("ifname=eth0,mac_filter=maybe"), std::string("ifname=eth0;ifname=eth0"), std::string("ifname=a/b"),
        std::string("ifname=eth0,bridge=a b"), std::string("ifname=eth0,bridge=../all"),
        std::string("ifname=0123456789abcdef"), std::string("ifname=.."), std::string("ifname=venet0"),
        std::string("ifname=lo"), std::string("ifname=eth0,host_ifname=$(id)"), std::string("ifname=-x"), many}) {
    auto list = parse_netif(text);
    ASSERT_FALSE(list) << text;
    EXPECT_EQ(list.error().code(), Code::bad_config) << text;
  }
}

TEST(Netif, FillsWhatTheOptionLeavesOut) {
  auto n = netif_from_option("eth3", Ctid(101), {});
  ASSERT_TRUE(n) << n.error().message();
  EXPECT_EQ(n->ifname, "eth3");
  EXPECT_EQ(n->host_ifname, "veth101.3");
  EXPECT_THAT(n->mac, StartsWith("00:18:51:"));
  EXPECT_THAT(n->host_mac, StartsWith("fe:18:51:"));
  EXPECT_EQ(n->bridge, "");
  EXPECT_TRUE(n->mac_filter);

  auto full = netif_from_option("eth0,00:18:51:00:00:01,myif,00:18:51:00:00:02,br0", Ctid(101), {});
  EXPECT_EQ(*full, (Netif{"eth0", "br0", "00:18:51:00:00:01", "myif", "00:18:51:00:00:02", true}));
  auto holes = netif_from_option("eth0,,,,br0", Ctid(101), {});
  EXPECT_EQ(holes->bridge, "br0");
  EXPECT_EQ(holes->host_ifname, "veth101.0");
}

TEST(Netif, RandomMacsDiffer) {
  std::set<std::string> macs;
  for (int i = 0; i < 64; ++i) macs.insert(netif_from_option("eth0", Ctid(1), {})->mac);
  EXPECT_GT(macs.size(), 60u);
}

TEST(Netif, HostNamesAreUniqueAndFitTheKernel) {
  Ctid largest(Ctid::kMax);
  std::vector<Netif> list;
  std::set<std::string> names;
  for (const char* ifname : {"eth0", "wan0", "eth1", "lan", "eth4000000000", "eth007"}) {
    auto n = netif_from_option(ifname, largest, list);
    ASSERT_TRUE(n) << ifname;
    EXPECT_LE(n->host_ifname.size(), 15u) << n->host_ifname;
    EXPECT_TRUE(names.insert(n->host_ifname).second) << n->host_ifname;
    list.push_back(*n);
  }
  EXPECT_TRUE(names.count("v2147483644.0"));
  EXPECT_EQ(netif_from_option("wan0", Ctid(101), {{"eth0", "", "", "veth101.0", ""}})->host_ifname, "veth101.1");
}

TEST(Netif, RefusesBadOptions) {
  std::vector<Netif> existing = {{"eth0", "", "", "veth101.0", ""}};
  struct {
    const char* text;
    Code code;
  } const cases[] = {
      {"", Code::bad_value},           {",,,,br0", Code::bad_value},           {"eth1,xx", Code::bad_value},
      {"eth1,,,zz", Code::bad_value},  {"eth1,,a/b", Code::bad_value},         {"eth1,,,,,", Code::bad_value},
      {"venet0", Code::bad_value},     {"eth0123456789abcd", Code::bad_value}, {"eth0", Code::veth},
      {"eth1,,veth101.0", Code::veth},
  };
  for (const auto& c : cases) {
    auto n = netif_from_option(c.text, Ctid(101), existing);
    ASSERT_FALSE(n) << c.text;
    EXPECT_EQ(n.error().code(), c.code) << c.text << ": " << n.error().message();
  }
}

TEST(IpList, TakesBlanksAndCommasAndDropsDoubles) {
  auto list = parse_ip_list(" 10.0.0.5  fd00::5,10.0.0.6/24 10.0.0.5/24 ");
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 3u);
  EXPECT_EQ((*list)[0].str(), "10.0.0.5");
  EXPECT_EQ((*list)[1].str(), "fd00::5");
  EXPECT_EQ((*list)[2].str(), "10.0.0.6/24");
  EXPECT_TRUE(parse_ip_list("")->empty());
  auto bad = parse_ip_list("10.0.0.5 10.0.0.500");
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message(), HasSubstr("10.0.0.500"));
}

}  // namespace
}  // namespace vz

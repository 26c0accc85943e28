// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>

#include "libvz/kernel/netlink.h"

namespace vz {
namespace {

TEST(IpAddress, ParsesAndPrints) {
  struct {
    const char *text, *printed, *address;
    bool v6;
    unsigned prefix;
  } const cases[] = {
      {"10.0.0.5", "10.0.0.5", "10.0.0.5", false, 32},
      {"10.0.0.5/24", "10.0.0.5/24", "10.0.0.5", false, 24},
      {"10.0.0.5/32", "10.0.0.5", "10.0.0.5", false, 32},
      {"223.255.255.254", "223.255.255.254", "223.255.255.254", false, 32},
      {"169.254.7.7", "169.254.7.7", "169.254.7.7", false, 32},
      {"FD00:0:0::0:5", "fd00::5", "fd00::5", true, 128},
      {"2001:db8::1/64", "2001:db8::1/64", "2001:db8::1", true, 64},
      {"fd00::5/128", "fd00::5", "fd00::5", true, 128},
      {"::2", "::2", "::2", true, 128},
  };
  for (const auto& c : cases) {
    auto a = IpAddress::parse(c.text);
    ASSERT_TRUE(a) << c.text;
    EXPECT_EQ(a->str(), c.printed);
    EXPECT_EQ(a->address(), c.address);
    EXPECT_EQ(a->v6, c.v6) << c.text;
    EXPECT_EQ(a->prefix, c.prefix) << c.text;
    EXPECT_EQ(*IpAddress::parse(a->str()), *a) << c.text;
  }
}

TEST(IpAddress, RefusesWhatNoContainerCanHave) {
  const std::string cases[] = {
      "", " ", "10", "10.0.0", "10.0.0.256", "10.0.0.5 ", " 10.0.0.5", "010.0.0.5", "10.0.0.5.6", "0x0a000005", "host",
      // Prefix
      "10.0.0.5/", "10.0.0.5/0", "10.0.0.5/33", "10.0.0.5/-1", "10.0.0.5/2 4", "10.0.0.5/24/24", "fd00::5/129",
      "10.0.0.5/255.255.255.0", "10.0.0.5/4294967320", "/24",
      // Not an address of one machine
      "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
      "::", "::1", "ff02::1", "::ffff:10.0.0.5", "fe80::1", "febf::1", "fe80::1%eth0",
      // Not IPv6
      "fd00::5::6", "fd00:5", "12345::", ":", std::string("10.0.0.5\0", 9), std::string("10.0.0.5\0x", 10)};
  for (const std::string& text : cases) {
    auto a = IpAddress::parse(text);
    ASSERT_FALSE(a) << "'" << text << "' became " << a->str();
    EXPECT_EQ(a.error().code(), Code::bad_value) << text;
    EXPECT_NE(a.error().message().find(text.c_str()), std::string::npos) << a.error().message();
  }
}

TEST(IpAddress, SameAddressIgnoresThePrefix) {
  auto parse = [](const char* text) { return *IpAddress::parse(text); };
  EXPECT_TRUE(parse("10.0.0.5").same_address(parse("10.0.0.5/24")));
  EXPECT_FALSE(parse("10.0.0.5") == parse("10.0.0.5/24"));
  EXPECT_FALSE(parse("10.0.0.5").same_address(parse("10.0.0.6")));
  EXPECT_TRUE(parse("fd00::5/64").same_address(parse("fd00:0::5")));
  EXPECT_FALSE(parse("fd00::5").same_address(parse("fd00::1:5")));
  // The first four bytes are those of 253.0.0.0; families differ.
  IpAddress v4{false, {0xfd, 0, 0, 0}, 32};
  EXPECT_FALSE(parse("fd00::5").same_address(v4));
}

TEST(MacAddress, ParsesAndPrints) {
  EXPECT_EQ(MacAddress::parse("00:18:51:a1:B2:c3")->str(), "00:18:51:a1:b2:c3");
  EXPECT_EQ(MacAddress::parse("FE:FF:0a:90:09:00")->str(), "fe:ff:0a:90:09:00");
}

TEST(MacAddress, RefusesWhatNoDeviceCanHave) {
  for (const char* text :
       {"", "00:18:51:a1:b2", "00:18:51:a1:b2:c3:d4", "00-18-51-a1-b2-c3", "001851a1b2c3", "0:18:51:a1:b2:c3",
        "00:18:51:a1:b2:cg", "00:18:51:a1:b2:c ", "00:00:00:00:00:00", "01:18:51:a1:b2:c3", "ff:ff:ff:ff:ff:ff",
        "00:18:51:a1:b2;c3", "0\x10:18:51:a1:b2:c3", "00:18:51:a1:b2:\xc3\xa4"}) {
    auto mac = MacAddress::parse(text);
    ASSERT_FALSE(mac) << text;
    EXPECT_EQ(mac.error().code(), Code::bad_value) << text;
  }
}

}  // namespace
}  // namespace vz

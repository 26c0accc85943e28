// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/value.h"

#include <gtest/gtest.h>

namespace vz {
namespace {

constexpr std::uint64_t kUnlimited = Limit::kUnlimited;

TEST(Value, SizesInTheirUnit) {
  const struct {
    const char* text;
    Unit unit;
    std::uint64_t value;
  } cases[] = {
      {"0", Unit::bytes, 0},
      {"512", Unit::bytes, 512},
      {"512B", Unit::bytes, 512},
      {"1K", Unit::bytes, 1024},
      {"1k", Unit::bytes, 1024},
      {"1KB", Unit::bytes, 1024},
      {"1Ki", Unit::bytes, 1024},
      {"1KiB", Unit::bytes, 1024},
      {"512M", Unit::bytes, 512ull << 20},
      {"512MiB", Unit::bytes, 512ull << 20},
      {"2G", Unit::bytes, 2ull << 30},
      {"2gib", Unit::bytes, 2ull << 30},
      {"3T", Unit::bytes, 3ull << 40},
      {"2P", Unit::bytes, 8192},
      {"1.5G", Unit::bytes, 3ull << 29},
      {"0.5K", Unit::bytes, 512},
      {"8388607T", Unit::bytes, 8388607ull << 40},
      {"007", Unit::bytes, 7},
      {"unlimited", Unit::bytes, kUnlimited},
      {"UNLIMITED", Unit::pages, kUnlimited},
      {"max", Unit::count, kUnlimited},
      {"infinity", Unit::kib, kUnlimited},
      {"9223372036854775807", Unit::pages, kUnlimited},
      {"9223372036854775807", Unit::count, kUnlimited},
      {"512M", Unit::pages, 131072},
      {"100", Unit::pages, 100},
      {"100P", Unit::pages, 100},
      {"4096B", Unit::pages, 1},
      {"4097B", Unit::pages, 2},  // rounded up: a limit is never less than asked for
      {"1B", Unit::pages, 1},
      {"2251799813685247", Unit::pages, 2251799813685247},
      {"2.2G", Unit::kib, 2306868},
      {"10", Unit::kib, 10},
      {"1025B", Unit::kib, 2},
      {"240", Unit::count, 240},
  };
  for (const auto& c : cases) {
    auto v = parse_size(c.text, c.unit);
    ASSERT_TRUE(v) << c.text << ": " << v.error().message();
    EXPECT_EQ(*v, c.value) << c.text;
  }
}

TEST(Value, BadSizesSayWhy) {
  const struct {
    const char* text;
    Unit unit;
    const char* reason;
  } cases[] = {
      {"", Unit::bytes, "the value is empty"},
      {"12Q", Unit::bytes, "unknown size suffix 'Q'"},
      {"12MM", Unit::bytes, "unknown size suffix 'MM'"},
      {"12iB", Unit::bytes, "unknown size suffix 'iB'"},
      {"1PB", Unit::bytes, "unknown size suffix 'PB'"},
      {"1E", Unit::bytes, "unknown size suffix 'E'"},
      {"1e3", Unit::bytes, "unknown size suffix 'e3'"},
      {"0x10", Unit::bytes, "unknown size suffix 'x10'"},
      {"1.2.3G", Unit::bytes, "unknown size suffix '.3G'"},
      {"1.", Unit::bytes, "unknown size suffix '.'"},
      {".5G", Unit::bytes, "not a number"},
      {"-5", Unit::bytes, "must not be negative"},
      {"-5M", Unit::pages, "must not be negative"},
      {"-", Unit::bytes, "not a number"},
      {"+5", Unit::bytes, "not a number"},
      {"nan", Unit::bytes, "not a number"},
      {"inf", Unit::bytes, "not a number"},
      {"M", Unit::bytes, "not a number"},
      {" 5", Unit::bytes, "no blanks are allowed in a number"},
      {"5 ", Unit::bytes, "no blanks are allowed in a number"},
      {"5 M", Unit::bytes, "no blanks are allowed in a number"},
      {"\t5", Unit::count, "no blanks are allowed in a number"},
      {"1.5", Unit::bytes, "must be a whole number"},
      {"1.5B", Unit::bytes, "must be a whole number"},
      {"1.5", Unit::kib, "a fraction needs a suffix"},
      {"5M", Unit::count, "unexpected 'M' after the number"},
      {"8388608T", Unit::bytes, "the number is too large"},
      {"8388608T", Unit::pages, "the number is too large"},
      {"2251799813685248", Unit::pages, "the number is too large"},
      {"9223372036854775808", Unit::bytes, "the number is too large"},
      {"18446744073709551616", Unit::bytes, "the number is too large"},
      {"1000000000000000000000000000000", Unit::bytes, "the number is too large"},
      {"1000000000000000000000000000000", Unit::count, "the number is too large"},
      {"9223372036854775807G", Unit::bytes, "the number is too large"},
      {"12\x01", Unit::bytes, "unknown size suffix '\\x01'"},
      {"\xd9\xa1", Unit::bytes, "not a number"},
  };
  for (const auto& c : cases) {
    auto v = parse_size(c.text, c.unit);
    ASSERT_FALSE(v) << c.text << " = " << *v;
    EXPECT_EQ(v.error().message(), c.reason) << c.text;
    EXPECT_EQ(v.error().code(), Code::bad_value);
  }
}

TEST(Value, SizeTextIsShortAndExact) {
  EXPECT_EQ(format_size(131072, Unit::pages), "512M");
  EXPECT_EQ(format_size(131073, Unit::pages), "131073");
  EXPECT_EQ(format_size(1ull << 30, Unit::bytes), "1G");
  EXPECT_EQ(format_size((1ull << 30) + 1, Unit::bytes), "1073741825");
  EXPECT_EQ(format_size(2ull << 30, Unit::kib), "2T");
  EXPECT_EQ(format_size(0, Unit::pages), "0");
  EXPECT_EQ(format_size(1 << 20, Unit::count), "1048576");
  EXPECT_EQ(format_size(kUnlimited, Unit::bytes), "unlimited");
}

TEST(Value, SizeTextReadsBackAsItself) {
  std::uint64_t x = 88172645463325252ull;
  for (int i = 0; i < 20000; ++i) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    for (Unit unit : {Unit::count, Unit::bytes, Unit::pages, Unit::kib}) {
      std::uint64_t value = (x >> (14 + x % 40)) << (x % 3 * 4);
      if (value > (kUnlimited >> 12)) continue;
      auto back = parse_size(format_size(value, unit), unit);
      ASSERT_TRUE(back) << format_size(value, unit);
      ASSERT_EQ(*back, value);
    }
  }
}

TEST(Value, Limits) {
  auto l = parse_limit("240:250", Unit::count, Single::both);
  ASSERT_TRUE(l);
  EXPECT_EQ(*l, (Limit{240, 250}));
  EXPECT_EQ(*parse_limit("240", Unit::count, Single::both), (Limit{240, 240}));
  EXPECT_EQ(*parse_limit("1M", Unit::pages, Single::limit_only), (Limit{0, 256}));
  EXPECT_EQ(*parse_limit("1:unlimited", Unit::pages, Single::limit_only), (Limit{1, kUnlimited}));
  for (const char* text : {"", ":", "1:", ":1", "1:2:3", "2:1", "unlimited:1", "1: 2", "1,2", "-1:2", "1:-2"})
    EXPECT_FALSE(parse_limit(text, Unit::count, Single::both)) << text;
}

TEST(Value, IoRates) {
  constexpr std::uint64_t kMib = 1 << 20;
  EXPECT_EQ(*parse_io_rate("10", kMib), 10 * kMib);
  EXPECT_EQ(*parse_io_rate("10", 1), 10u);
  EXPECT_EQ(*parse_io_rate("10K", kMib), 10240u);
  EXPECT_EQ(*parse_io_rate("1.5M", kMib), 3 * kMib / 2);
  EXPECT_EQ(*parse_io_rate("7B", kMib), 7u);
  EXPECT_EQ(*parse_io_rate("0", kMib), 0u);
  EXPECT_EQ(*parse_io_rate("unlimited", kMib), 0u);
  EXPECT_FALSE(parse_io_rate("1.5", kMib)) << "half of what?";
  for (const char* text : {"", "1P", "-1", "1X", "99999999999999999999"})
    EXPECT_FALSE(parse_io_rate(text, kMib)) << text;
}

TEST(Value, PercentAndReal) {
  EXPECT_EQ(*parse_percent("50"), 50u);
  EXPECT_EQ(*parse_percent("50%"), 50u);
  EXPECT_EQ(*parse_percent("unlimited"), 0u);
  for (const char* text : {"", "%", "50%%", "1.5", "-1%", "+1", "x", "5 %", "99999999999999999999999"})
    EXPECT_FALSE(parse_percent(text)) << text;
  EXPECT_DOUBLE_EQ(*parse_real("1.5"), 1.5);
  EXPECT_DOUBLE_EQ(*parse_real("0"), 0);
  EXPECT_DOUBLE_EQ(*parse_real("1000000000"), 1e9);
  for (const char* text :
       {"", "nan", "inf", "-1", "1e3", "1,5", ".5", "1.", "0x1", " 1", "1000000001", "1000000000000"})
    EXPECT_FALSE(parse_real(text)) << text;
}

TEST(Value, CpuLists) {
  const struct {
    const char *text, *out;
  } good[] = {{"0", "0"},     {"0-3,5", "0-3,5"}, {"5,0-3", "0-3,5"}, {"1,2,3", "1-3"},
              {"3,3,3", "3"}, {"0-1", "0,1"},     {"0-4,2-8", "0-8"}, {"8191", "8191"}};
  for (const auto& c : good) EXPECT_EQ(normalize_cpu_list(c.text).value_or("bad"), c.out) << c.text;
  for (const char* text :
       {"", ",", "1,", "3-1", "8192", "a", "-1", "1-", "1--2", "0 1", "1-2-3", "99999999999999999999"})
    EXPECT_FALSE(normalize_cpu_list(text)) << text;
}

TEST(Value, DeviceLists) {
  auto rules = parse_device_list("c:10:229:rw b:8:all:rwq c:1:3:none");
  ASSERT_TRUE(rules) << rules.error().message();
  ASSERT_EQ(rules->size(), 3u);
  EXPECT_EQ((*rules)[0], (DeviceEntry{'c', 10, 229, true, true, false}));
  EXPECT_EQ((*rules)[1], (DeviceEntry{'b', 8, std::nullopt, true, true, true}));
  EXPECT_EQ(format_device_list(*rules), "c:10:229:rw b:8:all:rwq c:1:3:none");
  EXPECT_TRUE(parse_device_list("b:7:0:none")) << "taking access back is fine";
  for (const char* text :
       {"b:7:0:rw", "b:7:all:r", "c:7:1:r", "x:1:1:r", "c:1:1", "c:1:1:", "c:1:1:x", "c:1:1:rr", "c::1:r", "c:all:1:r",
        "c:4096:1:r", "c:1:1048576:r", "c:-1:1:r", "c:1:1:r:w", "bc:1:1:r", "c:99999999999:1:r"})
    EXPECT_FALSE(parse_device_list(text)) << text;
  EXPECT_NE(parse_device_list("b:7:0:rw").error().message().find("loop devices"), std::string::npos);
}

TEST(Value, DevnodeLists) {
  auto rules = parse_devnode_list("net/tun:rw /dev/fuse:r sda1:none");
  ASSERT_TRUE(rules) << rules.error().message();
  EXPECT_EQ(format_devnode_list(*rules), "net/tun:rw fuse:r sda1:none");
  for (const char* text : {"fuse", ":rw", "fuse:", "fuse:x", "../etc/passwd:r", "a/../b:r", "/etc/passwd:r", "a//b:r",
                           "./a:r", "loop0:rw", "loop-control:rw", "/dev/loop1:r", "a\"b:r", "a$b:r", "a/:r"})
    EXPECT_FALSE(parse_devnode_list(text)) << text;
}

TEST(Value, OnOffLists) {
  auto list = parse_on_off_list("NFS:on,tun:off fuse:on");
  ASSERT_TRUE(list);
  EXPECT_EQ(format_on_off_list(*list), "nfs:on tun:off fuse:on");
  for (const char* text : {"nfs", "nfs:", ":on", "nfs:yes", "nfs:on:off", "nfs on"})
    EXPECT_FALSE(parse_on_off_list(text)) << text;
}

TEST(Value, Names) {
  for (const char* name : {"web", "web 1", "a-b+c_d.e", "1a", "x1"}) EXPECT_TRUE(check_container_name(name)) << name;
  for (const char* name :
       {"", "101", "a/b", "../x", ".hidden", "..", "-x", " x", "x ", "a\"b", "a\nb", "caf\xc3\xa9", "a:b"})
    EXPECT_FALSE(check_container_name(name)) << name;
  EXPECT_FALSE(check_container_name(std::string(129, 'a')));
  for (const char* name : {"web", "web.example.org", "a_b", "1"}) EXPECT_TRUE(check_hostname(name)) << name;
  for (const char* name : {"", "a..b", ".a", "a.", "-a", "a b", "a/b", "a\nb", "a$b"})
    EXPECT_FALSE(check_hostname(name)) << name;
  EXPECT_FALSE(check_hostname(std::string(65, 'a')));
  EXPECT_TRUE(check_ifname("veth101.0"));
  for (const char* name : {"", ".", "..", "a/b", "0123456789abcdef", "a b", "a,b", "a;b"})
    EXPECT_FALSE(check_ifname(name)) << name;
  for (const char* name : {"", ".", "..", "a/b", "a b", "../x", "a$"}) EXPECT_FALSE(check_file_name(name)) << name;
}

TEST(Value, PrintableBoundsAndEscapes) {
  EXPECT_EQ(printable("a\nb\x7f"), "a\\x0ab\\x7f");
  EXPECT_EQ(printable(std::string(1000, 'x')), std::string(60, 'x') + "...");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Value, Words) {
  EXPECT_EQ(split_words(" a,b  c,,d\t"), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_TRUE(split_words(" ,, ").empty());
}

}  // namespace
}  // namespace vz

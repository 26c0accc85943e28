// SPDX-License-Identifier: GPL-2.0-or-later
#include <vz/validate.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vz {
namespace {

using testing::HasSubstr;
using S = Severity;

constexpr const char* kGood =
    "PHYSPAGES=\"0:256M\"\nSWAPPAGES=\"0:512M\"\nDISKSPACE=\"2G:2.2G\"\nDISKINODES=\"131072:144179\"\nCPUUNITS="
    "\"1000\"\n";

Validation check(const std::string& text, ValidateOptions options = {}) { return validate_config(text, "f", options); }

const Finding* find(const Validation& v, std::string_view where, std::string_view text) {
  for (const auto& f : v.findings)
    if (f.where.find(where) != f.where.npos && f.text.find(text) != f.text.npos) return &f;
  return nullptr;
}

TEST(Validate, AGoodOneHasNothing) {
  auto v = check(kGood);
  EXPECT_TRUE(v.vswap);
  EXPECT_TRUE(v.findings.empty()) << v.findings[0].text;
}

struct Row {
  const char* more;  // after kGood
  const char* where;
  const char* text;
  Severity severity;
  const char* fix;  // value; nullptr: none
};

class ValidateRules : public testing::TestWithParam<Row> {};

TEST_P(ValidateRules, FoundAndMended) {
  const Row& row = GetParam();
  std::string text = std::string(kGood) + row.more;
  auto v = check(text, {{}, std::uint64_t{1} << 30});
  const Finding* f = find(v, row.where, row.text);
  ASSERT_NE(f, nullptr) << row.more << (v.findings.empty() ? "" : v.findings[0].where + v.findings[0].text);
  EXPECT_EQ(f->severity, row.severity);
  ASSERT_EQ(f->fix.has_value(), row.fix != nullptr);
  if (!row.fix) return;
  EXPECT_EQ(f->fix->value, row.fix);
  auto config = Config::parse(text, "f");
  apply_fix(config, *f->fix);
  EXPECT_EQ(find(check(config.text()), row.where, row.text), nullptr) << "the fix mends it: " << config.text();
}

INSTANTIATE_TEST_SUITE_P(
    Rules, ValidateRules,
    testing::Values(
        Row{"NOSUCHKEY=\"1\"\n", "f:6", "unknown key NOSUCHKEY", S::warning, nullptr},
        Row{"SLMMODE=\"all\"\n", "f:6", "no meaning", S::recommendation, ""},
        Row{"rubbish\n", "f:6", "not of the form", S::error, nullptr},
        Row{"HOSTNAME=\"open\n", "f:6", "quote is not closed", S::error, nullptr},
        Row{"CPUUNITS=\"7\"\n", "f:6", "out of range", S::error, nullptr},
        Row{"CPUUNITS=\"500\"\n", "f:6", "was set in line 5 already", S::warning, nullptr},
        Row{"DISKINODES=\"200:100\"\n", "f:6", "above limit", S::error, "100:100"},
        Row{"LOCKEDPAGES=\"20:10\"\n", "f:6", "above limit", S::error, "10:10"},
        Row{"LOCKEDPAGES=\"1G:2G\"\n", "LOCKEDPAGES", "above the RAM", S::warning, "256M:256M"},
        Row{"VMGUARPAGES=\"1G:unlimited\"\n", "VMGUARPAGES", "never be had", S::error, "768M:unlimited"},
        Row{"OOMGUARPAGES=\"1G:unlimited\"\n", "OOMGUARPAGES", "above RAM + swap", S::warning, "768M:unlimited"},
        Row{"SHMPAGES=\"1G:1G\"\n", "SHMPAGES", "above RAM + swap", S::warning, "768M:768M"},
        Row{"PRIVVMPAGES=\"64M:64M\"\n", "PRIVVMPAGES", "below the RAM", S::warning, nullptr},
        Row{"PRIVVMPAGES=\"1G:1G\"\nVM_OVERCOMMIT=\"2\"\n", "VM_OVERCOMMIT", "is the one that counts", S::warning,
            nullptr},
        Row{"VM_OVERCOMMIT=\"0.5\"\n", "VM_OVERCOMMIT", "less than RAM", S::warning, nullptr},
        Row{"KMEMSIZE=\"1G:1G\"\n", "KMEMSIZE", "above the RAM", S::recommendation, nullptr},
        Row{"NUMPROC=\"4:4\"\n", "NUMPROC", "not enough to boot", S::error, nullptr},
        Row{"NUMPROC=\"40:50\"\n", "NUMPROC", "should be the same", S::recommendation, "50:50"},
        Row{"NUMPROC=\"40:40\"\nAVNUMPROC=\"60:60\"\n", "AVNUMPROC", "above the barrier", S::recommendation, "40:40"},
        Row{"NUMTCPSOCK=\"100:100\"\nTCPSNDBUF=\"1000:2000\"\n", "TCPSNDBUF", "2.5 KiB", S::recommendation,
            "1000:257000"},
        Row{"DGRAMRCVBUF=\"1000:2000\"\n", "DGRAMRCVBUF", "129 KiB", S::recommendation, "132096:132096"},
        Row{"NODEMASK=\"0\"\n", "NODEMASK", "needs CPUMASK", S::error, nullptr},
        Row{"DISKSPACE=\"0:0\"\n", "DISKSPACE", "no size", S::error, nullptr},
        Row{"PHYSPAGES=\"0:2G\"\n", "PHYSPAGES", "more than this host's 1024 MiB", S::warning, nullptr},
        Row{"PHYSPAGES=\"0:8M\"\n", "PHYSPAGES", "hardly enough", S::warning, nullptr},
        Row{"PHYSPAGES=\"0:100K\"\n", "PHYSPAGES", "not enough for any", S::error, nullptr},
        Row{"PHYSPAGES=\"0:unlimited\"\n", "PHYSPAGES", "RAM has no limit", S::error, nullptr}));

TEST(Validate, RamWithoutSwap) {
  auto v = check("PHYSPAGES=\"0:256M\"\n");
  const Finding* f = find(v, "SWAPPAGES", "belong together");
  ASSERT_NE(f, nullptr);
  EXPECT_EQ(f->fix, (Fix{"SWAPPAGES", "0:0"}));
  EXPECT_EQ(v.errors(), 1u);
}

TEST(Validate, SwapWithoutRam) {
  auto v = check("SWAPPAGES=\"0:256M\"\n");
  EXPECT_TRUE(v.vswap);
  EXPECT_EQ(v.errors(), 1u);
}

TEST(Validate, ABadValueIsToldOnce) {
  auto v = check("PHYSPAGES=\"0:lots\"\nSWAPPAGES=\"0:256M\"\n");
  EXPECT_EQ(v.errors(), 1u) << v.findings.back().text;
}

TEST(Validate, NothingAtAll) {
  for (const char* text : {"", "\n\n", "# only a comment", "NUMPROC=\"100:100\"\n"}) {
    auto v = check(text);
    EXPECT_FALSE(v.vswap);
    EXPECT_EQ(v.errors(), 1u) << text;
    EXPECT_NE(find(v, "PHYSPAGES", "memory has no limit"), nullptr);
  }
}

constexpr const char* kUbc =
    "KMEMSIZE=\"14372700:14790164\"\nLOCKEDPAGES=\"256:256\"\nPRIVVMPAGES=\"65536:69632\"\nSHMPAGES=\"21504:21504\"\n"
    "NUMPROC=\"240:240\"\nVMGUARPAGES=\"33792:unlimited\"\nOOMGUARPAGES=\"26112:unlimited\"\nNUMTCPSOCK=\"360:360\"\n"
    "NUMFLOCK=\"188:206\"\nNUMPTY=\"16:16\"\nNUMSIGINFO=\"256:256\"\nTCPSNDBUF=\"1720320:2703360\"\n"
    "TCPRCVBUF=\"1720320:2703360\"\nOTHERSOCKBUF=\"1126080:2097152\"\nDGRAMRCVBUF=\"262144:262144\"\n"
    "NUMOTHERSOCK=\"360:360\"\nDCACHESIZE=\"3409920:3624960\"\nNUMFILE=\"8192:8192\"\nNUMIPTENT=\"128:128\"\n"
    "AVNUMPROC=\"180:180\"\nPHYSPAGES=\"0:unlimited\"\n";

TEST(Validate, UbcIsRecognised) {
  auto v = check(kUbc);
  EXPECT_FALSE(v.vswap);
  EXPECT_EQ(v.errors(), 0u) << v.findings[0].where << v.findings[0].text;
  EXPECT_NE(find(v, "PHYSPAGES", "before VSwap"), nullptr);
  EXPECT_NE(find(v, "PHYSPAGES", "--ram 26112P --swap 43520P"), nullptr);
}

TEST(Validate, UbcRulesAreErrorsThere) {
  std::string text = kUbc;
  EXPECT_EQ(check(text + "NUMFILE=\"1:1\"\nAVNUMPROC=\"300:300\"\n").errors(), 2u) << "AVNUMPROC and KMEMSIZE";
  EXPECT_EQ(check(text + "TCPRCVBUF=\"1720320:1720321\"\n").errors(), 1u);
  EXPECT_EQ(check(text + "VMGUARPAGES=\"70000:unlimited\"\n").errors(), 1u);
  auto missing = text.substr(text.find('\n') + 1);
  auto v = check(missing);
  EXPECT_EQ(v.errors(), 1u);
  EXPECT_NE(find(v, "KMEMSIZE", "not set"), nullptr);
}

TEST(Validate, TheKindCanBeForced) {
  EXPECT_TRUE(check(kUbc, {true, 0}).vswap);
  EXPECT_GT(check(kUbc, {true, 0}).errors(), 0u);
  EXPECT_FALSE(check(kGood, {false, 0}).vswap);
  EXPECT_GT(check(kGood, {false, 0}).errors(), 10u);
}

TEST(Validate, AnyBytesAreFine) {
  std::string bytes;
  for (int i = 0; i < 5000; ++i) bytes += static_cast<char>((i * 7919) >> (i % 5));
  EXPECT_GT(check(bytes).findings.size(), 1u);
  EXPECT_GT(check(std::string(300, '\0')).errors(), 0u);
}

}  // namespace
}  // namespace vz

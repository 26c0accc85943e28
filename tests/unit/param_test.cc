// SPDX-License-Identifier: GPL-2.0-or-later
#include <set>

#include <gtest/gtest.h>

#include <vz/config.h>

namespace vz {
namespace {

using namespace std::string_view_literals;

std::string canonical(const char* option, const char* text) {
  const Param* p = find_param_by_option(option);
  if (!p) return "no such option";
  auto out = param_from_option(*p, text);
  return out ? *out : "error: " + out.error().message();
}

TEST(Param, OptionTextBecomesFileText) {
  const struct {
    const char *option, *text, *out;
  } cases[] = {
      {"--ram", "512M", "0:512M"},
      {"--ram", "536870912", "0:512M"},
      {"--ram", "0.5G", "0:512M"},
      {"--ram", "131072P", "0:512M"},
      {"--ram", "1048577", "0:257"},
      {"--ram", "unlimited", "0:unlimited"},
      {"--swap", "0", "0:0"},
      {"--swap", "1GiB", "0:1G"},
      {"--physpages", "512M", "0:512M"},
      {"--physpages", "131072", "0:512M"},
      {"--physpages", "1:131072", "1:512M"},
      {"--privvmpages", "65536:69632", "256M:272M"},
      {"--privvmpages", "unlimited", "unlimited:unlimited"},
      {"--kmemsize", "14372700:14790164", "14372700:14790164"},
      {"--numproc", "240", "240:240"},
      {"--diskspace", "2G:2.2G", "2G:2306868"},
      {"--diskspace", "1048576", "1G:1G"},
      {"--diskinodes", "1000:1100", "1000:1100"},
      {"--cpuunits", "1000", "1000"},
      {"--cpulimit", "150%", "150"},
      {"--cpulimit", "0", "0"},
      {"--cpumask", "3,1,2", "1-3"},
      {"--cpumask", "auto", "auto"},
      {"--nodemask", "all", "all"},
      {"--iolimit", "10", "10485760"},
      {"--iolimit", "10M", "10485760"},
      {"--iopslimit", "unlimited", "0"},
      {"--vm_overcommit", "1.50", "1.5"},
      {"--vm_overcommit", "3", "3"},
      {"--onboot", "yes", "yes"},
      {"--name", "web 1", "web 1"},
      {"--name", "", ""},
      {"--description", "costs $5 # not a comment", "costs $5 # not a comment"},
      {"--nameserver", "192.0.2.1 2001:db8::1,192.0.2.1", "192.0.2.1 2001:db8::1"},
      {"--nameserver", "inherit", "inherit"},
      {"--nameserver", "127.0.0.53", "127.0.0.53"},
      {"--searchdomain", "example.org example.net.", "example.org example.net."},
      {"--features", "nesting:on,tun:off,nesting:off", "nesting:off tun:off"},
      {"--capability", "NET_ADMIN:on,cap_sys_time:off", "net_admin:on cap_sys_time:off"},
      {"--devices", "c:10:229:rw", "c:10:229:rw"},
      {"--devnodes", "net/tun:rw", "net/tun:rw"},
      {"--netfilter", "stateless", "stateless"},
      {"--ipadd", "10.0.0.5", "10.0.0.5"},
      {"--ip", "10.0.0.5", "10.0.0.5"},
      {"--ipdel", "all", "all"},
      {"--layout", "ploop:expanded", "ploop:expanded"},
      {"--velayout", "dir", "dir"},
      {"--private", "/srv/$VEID/x", "/srv/$VEID/x"},
      {"--userpasswd", "root:a\"b:c", "root:a\"b:c"},
      {"--meminfo", "pages:256", "pages:256"},
      {"--stop-timeout", "30", "30"},
      {"--netif_add", "eth0", "eth0"},
      {"--netif_add", "eth0,00:18:51:00:00:01,,,br0", "eth0,00:18:51:00:00:01,,,br0"},
  };
  for (const auto& c : cases) EXPECT_EQ(canonical(c.option, c.text), c.out) << c.option << " " << c.text;
}

TEST(Param, ErrorsNameOptionValueAndReason) {
  const struct {
    const char *option, *text, *message;
  } cases[] = {
      {"--ram", "12Q", "--ram 12Q: unknown size suffix 'Q'"},
      {"--ram", "512", "--ram 512: must be at least 1M"},
      {"--ram", "0", "--ram 0: must be at least 1M"},
      {"--ram", "-5", "--ram -5: must not be negative"},
      {"--ram", "", "--ram '': the value is empty"},
      {"--ram", " 5M", "--ram  5M: no blanks are allowed in a number"},
      {"--ram", "1000000000000000000000000000000", "--ram 1000000000000000000000000000000: the number is too large"},
      {"--ram", "0:512M", "--ram 0:512M: unknown size suffix ':512M'"},
      {"--cpuunits", "7", "--cpuunits 7: out of range"},
      {"--cpuunits", "500001", "--cpuunits 500001: out of range"},
      {"--cpuunits", "1K", "--cpuunits 1K: unexpected 'K' after the number"},
      {"--cpuunits", "unlimited", "--cpuunits unlimited: out of range"},
      {"--ioprio", "8", "--ioprio 8: out of range"},
      {"--numproc", "10:5", "--numproc 10:5: barrier 10 is above limit 5"},
      {"--onboot", "maybe", "--onboot maybe: neither yes nor no"},
      {"--onboot", "YES", "--onboot YES: neither yes nor no"},
      {"--vm_overcommit", "nan", "--vm_overcommit nan: not a number"},
      {"--nodemask", "auto", "--nodemask auto: auto is for --cpumask only"},
      {"--netfilter", "some", "--netfilter some: unknown word"},
      {"--nameserver", "dns.example", "--nameserver dns.example: 'dns.example' is not an IP address"},
      {"--nameserver", "inherit 1.2.3.4", "--nameserver inherit 1.2.3.4: inherit stands alone"},
      {"--features", "warp:on", "--features warp:on: unknown feature 'warp'"},
      {"--name", "101", "--name 101: the name has only digits, it would be taken for a container's number"},
      {"--private", "vz/101", "--private vz/101: not an absolute path"},
      {"--private", "/vz/$HOME", "--private /vz/$HOME: unknown variable"},
      {"--userpasswd", "secret", "--userpasswd: no user name or no password"},
      {"--userpasswd", "root:a\nb", "--userpasswd: control characters and line ends are not allowed"},
      {"--description", "a\"b", "--description a\"b: the characters \", \\ and ` are not allowed"},
      {"--description", "a\nb", "--description a\\x0ab: control characters and line ends are not allowed"},
      {"--description", "`reboot`", "--description `reboot`: the characters \", \\ and ` are not allowed"},
      {"--hostname", "", "--hostname '': the value is empty"},
      {"--ostemplate", "../x", "--ostemplate ../x: bad name '../x'"},
      {"--layout", "zfs", "--layout zfs: unknown layout"},
      {"--netdev_add", "venet0", "--netdev_add venet0: device venet0 cannot be moved"},
      {"--netif_add", ",,,", "--netif_add ,,,: the interface's name is missing"},
      {"--netif_add", "a,,,,,", "--netif_add a,,,,,: too many parts"},
      {"--netif_add", "a/b", "--netif_add a/b: bad interface name 'a/b'"},
      {"--netdev_add", "lo", "--netdev_add lo: device lo cannot be moved"},
  };
  for (const auto& c : cases) EXPECT_EQ(canonical(c.option, c.text), std::string("error: ") + c.message);
  auto small = param_from_option(*find_param_by_option("--ram"), "512");
  EXPECT_NE(small.error().hint().find("512M"), std::string::npos);
  EXPECT_EQ(small.error().code(), Code::bad_value);
  auto suffix = param_from_option(*find_param_by_option("--ram"), "12Q");
  EXPECT_NE(suffix.error().hint().find("K, M, G"), std::string::npos);
}

TEST(Param, EveryNumberRefusesNonsense) {
  for (const Param& p : params()) {
    switch (p.kind) {
      case Kind::number:
      case Kind::pages:
      case Kind::bytes:
      case Kind::count:
      case Kind::kib:
      case Kind::memory:
      case Kind::real:
      case Kind::io_rate:
      case Kind::percent:
        break;
      default:
        continue;
    }
    for (const char* text :
         {"", "-5", " 5", "5 ", "NaN", "inf", "abc", "1000000000000000000000000000000", "5\n", "0x5", "1e3", "--5"})
      EXPECT_FALSE(param_from_option(p, text)) << (p.option ? p.option : p.key) << " '" << text << "'";
  }
}

TEST(Param, TableIsComplete) {
  // reference: vzctl 4.11.1, `set` and `create`
  const char* options[] = {
      "--onboot",      "--bootorder",    "--root",        "--private",       "--mount_opts",   "--userpasswd",
      "--disabled",    "--name",         "--description", "--ostemplate",    "--stop-timeout", "--ipadd",
      "--ip",          "--ipdel",        "--hostname",    "--nameserver",    "--searchdomain", "--netif_add",
      "--netif_del",   "--ifname",       "--mac",         "--host_ifname",   "--host_mac",     "--bridge",
      "--mac_filter",  "--netdev_add",   "--netdev_del",  "--kmemsize",      "--lockedpages",  "--privvmpages",
      "--shmpages",    "--numproc",      "--physpages",   "--vmguarpages",   "--oomguarpages", "--numtcpsock",
      "--numflock",    "--numpty",       "--numsiginfo",  "--tcpsndbuf",     "--tcprcvbuf",    "--othersockbuf",
      "--dgramrcvbuf", "--numothersock", "--numfile",     "--dcachesize",    "--numiptent",    "--avnumproc",
      "--swappages",   "--ram",          "--swap",        "--vm_overcommit", "--cpuunits",     "--cpuweight",
      "--cpulimit",    "--cpus",         "--cpumask",     "--nodemask",      "--ioprio",       "--iolimit",
      "--iopslimit",   "--diskquota",    "--diskspace",   "--diskinodes",    "--quotatime",    "--quotaugidlimit",
      "--capability",  "--devnodes",     "--devices",     "--pci_add",       "--pci_del",      "--features",
      "--netfilter",   "--iptables",     "--meminfo",     "--layout",        "--ve_layout",    "--velayout",
      "--local_uid",   "--local_gid"};
  for (const char* option : options) EXPECT_TRUE(find_param_by_option(option)) << option;
  const char* keys[] = {
      "KMEMSIZE",       "LOCKEDPAGES",   "PRIVVMPAGES",  "SHMPAGES",     "NUMPROC",       "PHYSPAGES",
      "VMGUARPAGES",    "OOMGUARPAGES",  "NUMTCPSOCK",   "NUMFLOCK",     "NUMPTY",        "NUMSIGINFO",
      "TCPSNDBUF",      "TCPRCVBUF",     "OTHERSOCKBUF", "DGRAMRCVBUF",  "NUMOTHERSOCK",  "DCACHESIZE",
      "NUMFILE",        "NUMIPTENT",     "SWAPPAGES",    "NETFILTER",    "IPTABLES",      "CAPABILITY",
      "IP_ADDRESS",     "NETDEV",        "HOSTNAME",     "DESCRIPTION",  "NAMESERVER",    "SEARCHDOMAIN",
      "DEVICES",        "DEVNODES",      "PCI",          "VE_ROOT",      "VE_PRIVATE",    "TEMPLATE",
      "MOUNT_OPTS",     "VE_LAYOUT",     "OSTEMPLATE",   "CPUUNITS",     "CPUUWEIGHT",    "CPULIMIT",
      "CPUS",           "CPUMASK",       "NODEMASK",     "ONBOOT",       "ORIGIN_SAMPLE", "DISABLED",
      "LOCAL_UID",      "LOCAL_GID",     "DISK_QUOTA",   "DISKSPACE",    "DISKINODES",    "QUOTATIME",
      "QUOTAUGIDLIMIT", "MEMINFO",       "NETIF",        "NAME",         "FEATURES",      "IOPRIO",
      "IOLIMIT",        "IOPSLIMIT",     "BOOTORDER",    "STOP_TIMEOUT", "VM_OVERCOMMIT", "DCACHE",
      "IPTENTRIES",     "LOCKDIR",       "DUMPDIR",      "VE_STOP_MODE", "VE_PARALLEL",   "CONFIGFILE",
      "DEF_OSTEMPLATE", "NEIGHBOUR_DEVS"};
  for (const char* key : keys) EXPECT_TRUE(find_param_by_key(key)) << key;
  EXPECT_FALSE(find_param_by_key("NO_SUCH_KEY"));
  EXPECT_FALSE(find_param_by_key(""));
  EXPECT_FALSE(find_param_by_option("--save"));
  EXPECT_FALSE(find_param_by_option("ram"));
}

TEST(Param, RowsAreWellFormed) {
  std::set<std::string> options;
  for (const Param& p : params()) {
    ASSERT_TRUE(p.key || p.option);
    std::string name = p.option ? p.option : p.key;
    if (p.option) {
      EXPECT_TRUE(options.insert(p.option).second) << name;
      EXPECT_EQ(name.rfind("--", 0), 0u) << name;
      EXPECT_EQ(find_param_by_option(p.option), &p) << name;
    }
    if (p.key && p.kind != Kind::memory) {
      EXPECT_EQ(find_param_by_key(p.key), &p) << name;
    }
    ASSERT_TRUE(p.help && p.metavar && p.group) << name;
    std::string help = p.help;
    EXPECT_GE(help.size(), 12u) << name;
    EXPECT_TRUE(isupper(static_cast<unsigned char>(help[0])) || help.rfind("0 ", 0) == 0) << name;
    EXPECT_EQ(help.back(), '.') << name;
    EXPECT_EQ(help.find("  "), std::string::npos) << name;
    EXPECT_LE(p.min, p.max) << name;
  }
  EXPECT_STREQ(find_param_by_key("PHYSPAGES")->option, "--physpages");
  EXPECT_STREQ(find_param_by_option("--ram")->key, "PHYSPAGES");
  EXPECT_STREQ(find_param_by_key("DCACHE")->key, "DCACHESIZE");
}

TEST(Param, CanonicalTextIsAcceptedInAFileAndStable) {
  const char* texts[] = {"0",
                         "1",
                         "8",
                         "100",
                         "240:250",
                         "512M",
                         "1.5",
                         "10%",
                         "unlimited",
                         "yes",
                         "no",
                         "on",
                         "all",
                         "auto",
                         "0-3",
                         "nesting:on",
                         "net_admin:off",
                         "c:10:200:rw",
                         "net/tun:rw",
                         "10.0.0.5",
                         "inherit",
                         "/vz/$VEID",
                         "web",
                         "debian-13-amd64",
                         "none",
                         "stop",
                         "full",
                         "image"};
  int accepted = 0;
  for (const Param& p : params()) {
    if (!p.key || p.kind == Kind::netif_list) continue;  // records of NETIF need a container's number
    const Param& file_row = *find_param_by_key(p.key);
    for (const char* text : texts) {
      auto out = param_from_option(p, text);
      if (!out) continue;
      ++accepted;
      auto ok = param_check_file(file_row, *out);
      EXPECT_TRUE(ok) << p.key << "=" << *out << ": " << (ok ? "" : ok.error().message());
      // A bare rate is MiB/s as an option and bytes/s in a file; everything else means the same in both.
      if (p.kind == Kind::io_rate || p.kind == Kind::memory) continue;
      EXPECT_EQ(param_from_option(p, *out).value_or("error"), *out) << p.key;
    }
  }
  EXPECT_GT(accepted, 300);
}

TEST(Param, FileErrorsHaveTheirCode) {
  auto bad = param_check_file(*find_param_by_key("CPUUNITS"), "fast");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code(), Code::bad_config);
  EXPECT_EQ(bad.error().message(), "CPUUNITS=\"fast\": not a number");
  EXPECT_FALSE(param_check_file(*find_param_by_key("DEVICES"), "b:7:0:rw"));
  EXPECT_FALSE(param_check_file(*find_param_by_key("CPULIMIT"), ""));
  for (const char* key : {"IP_ADDRESS", "NETIF", "NAME", "FEATURES", "DEVNODES", "NETDEV", "NETFILTER"})
    EXPECT_TRUE(param_check_file(*find_param_by_key(key), "")) << key;
}

TEST(Param, MergeIsByNameForRulesAndAppendsWords) {
  auto merge = [](const char* option, const char* a, const char* b) {
    return param_merge(*find_param_by_option(option), a, b);
  };
  EXPECT_EQ(merge("--features", "nesting:on tun:on", "tun:off fuse:on"), "nesting:on tun:off fuse:on");
  EXPECT_EQ(merge("--devnodes", "fuse:rw", "fuse:none"), "fuse:none");
  EXPECT_EQ(merge("--devices", "c:10:229:rw", "c:10:200:r"), "c:10:229:rw c:10:200:r");
  EXPECT_EQ(merge("--nameserver", "192.0.2.1", "192.0.2.2 192.0.2.1"), "192.0.2.1 192.0.2.2");
  EXPECT_EQ(merge("--cpuunits", "1000", "2000"), "2000");
  EXPECT_EQ(merge("--features", "", "tun:on"), "tun:on");
}

TEST(Param, RandomTextNeverCrashesAndNeverLeavesQuotes) {
  std::uint64_t x = 0x9e3779b97f4a7c15ull;
  auto next = [&] { return x ^= x << 13, x ^= x >> 7, x ^= x << 17; };
  constexpr std::string_view kAlphabet = "0123456789.:,-%+ KMGTPBiabcdrwqonf/=$\"\\`'\n\0\xff"sv;
  auto all = params();
  for (int i = 0; i < 60000; ++i) {
    std::string text;
    for (auto n = next() % 16; n > 0; --n) text += kAlphabet[next() % kAlphabet.size()];
    const Param& p = all[next() % all.size()];
    auto out = param_from_option(p, text);
    if (out && p.key) {
      EXPECT_EQ(out->find_first_of(std::string_view("\"\\`\n\0", 5)), std::string::npos) << p.key << " " << text;
    }
    if (p.key) (void)param_check_file(p, text);
  }
}

}  // namespace
}  // namespace vz

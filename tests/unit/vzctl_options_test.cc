// SPDX-License-Identifier: GPL-2.0-or-later
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vzctl/columns.h"
#include "vzctl/command.h"
#include "vzctl/options.h"
#include "vzctl/settings.h"

namespace vzctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Option kTable[] = {
    {"-a,--all", nullptr, "flag"},
    {"-1,--one", nullptr, "flag"},
    {"-o,--output", "LIST", "value"},
    {"--ip,--ipadd", "ADDR", "value"},
};

Options parse(std::vector<std::string> args) {
  auto r = parse_options(kTable, std::move(args));
  EXPECT_TRUE(r) << r.error().message();
  return r ? *r : Options{};
}

TEST(Options, OldSpellings) {
  EXPECT_EQ(*parse({"-octid"}).last("--output"), "ctid");
  EXPECT_EQ(*parse({"-aoctid"}).last("--output"), "ctid");
  EXPECT_EQ(*parse({"--output=ctid"}).last("--output"), "ctid");
  EXPECT_EQ(*parse({"-o", "-bootorder"}).last("--output"), "-bootorder");
  EXPECT_EQ(*parse({"--output", ""}).last("--output"), "");
  EXPECT_TRUE(parse({"-a1"}).has("--one"));
  EXPECT_EQ(*parse({"--output", "[a,b]"}).last("--output"), "[a,b]");
}

TEST(Options, RepeatedOnesKeepTheirOrder) {
  Options o = parse({"--ip", "1", "-o", "x", "--ipadd", "2", "word"});
  EXPECT_THAT(o.all("--ipadd"), ElementsAre("1", "2"));
  ASSERT_EQ(o.given.size(), 3u);
  EXPECT_EQ(o.given[1].name, "--output");
  EXPECT_EQ(o.given[2].value, "2");
  EXPECT_THAT(o.words, ElementsAre("word"));
}

TEST(Options, DoubleDashEndsOptions) {
  EXPECT_THAT(parse({"x", "--", "--all", "-"}).words, ElementsAre("x", "--all", "-"));
}

TEST(Options, ErrorsNameTheOption) {
  for (std::vector<std::string> args : {std::vector<std::string>{"--nope"}, {"-z"}, {"--output"}}) {
    auto r = parse_options(kTable, args);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code(), vz::Code::bad_syntax);
    EXPECT_THAT(r.error().message(), HasSubstr(args[0]));
  }
}

TEST(Commands, NamesAndOptionsAreUnique) {
  std::set<std::string_view> names;
  for (const Command& command : commands()) {
    EXPECT_TRUE(names.insert(command.name).second) << command.name;
    for (const char* alias : command.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    std::set<std::string_view> options;
    for (const Option& option : command_options(command))
      for (std::string_view name : option_names(option))
        EXPECT_TRUE(options.insert(name).second) << command.name << name;
  }
  EXPECT_EQ(find_command("delete"), find_command("destroy"));
  EXPECT_EQ(find_command("nope"), nullptr);
}

TEST(Settings, EveryOptionOfTheTableIsAnOptionOfSetOrCreate) {
  std::set<std::string_view> known;
  for (const char* name : {"set", "create"})
    for (const Option& option : command_options(*find_command(name)))
      for (std::string_view spelled : option_names(option)) known.insert(spelled);
  for (const vz::Param& param : vz::params()) {
    if (!param.option) continue;
    EXPECT_TRUE(known.contains(param.option)) << param.option;
  }
}

Options set_line(std::vector<std::string> args) {
  auto table = command_options(*find_command("set"));
  auto r = parse_options(table, std::move(args));
  EXPECT_TRUE(r) << r.error().message();
  return r ? *r : Options{};
}

TEST(Settings, ValuesBecomeFileText) {
  auto config =
      settings_from(set_line({"--ram", "512M", "--swap", "0", "--nameserver", "1.1.1.1", "--nameserver", "2.2.2.2"}));
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->limit("PHYSPAGES")->limit, 131072u);
  EXPECT_EQ(config->limit("SWAPPAGES")->limit, 0u);
  EXPECT_EQ(config->get("NAMESERVER"), "1.1.1.1 2.2.2.2");
}

TEST(Settings, NothingIsSilentlyDropped) {
  auto config = settings_from(set_line({"--pci_del", "0:1.0"}));
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code(), vz::Code::not_enforced);
}

TEST(Settings, SpecialOnesStayOutOfTheFile) {
  Options line = set_line({"--ipadd", "10.0.0.1", "--ip", "10.0.0.2", "--ipdel", "all", "--userpasswd", "root:a:b"});
  auto config = settings_from(line);
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->keys().empty());
  vz::SetOptions out;
  ASSERT_TRUE(special_settings_from(line, out));
  EXPECT_THAT(out.ip_add, ElementsAre("10.0.0.1", "10.0.0.2"));
  EXPECT_THAT(out.ip_del, ElementsAre("all"));
  EXPECT_EQ(out.userpasswd, "root:a:b");
  EXPECT_FALSE(special_settings_from(set_line({"--ipadd", "10.0.0.256"}), out));
}

TEST(Settings, EditNetif) {
  std::string netif = "ifname=eth0,mac=00:00:00:00:00:01;ifname=eth01,bridge=b";
  EXPECT_EQ(*edit_netif(netif, "eth0", "mac", "x"), "ifname=eth0,mac=x;ifname=eth01,bridge=b");
  EXPECT_EQ(*edit_netif(netif, "eth01", "mac", "y"), "ifname=eth0,mac=00:00:00:00:00:01;ifname=eth01,bridge=b,mac=y");
  EXPECT_EQ(edit_netif(netif, "eth", "mac", "y").error().code(), vz::Code::netdev);
  EXPECT_EQ(edit_netif(netif, "eth0", "mac", "y;ifname=z").error().code(), vz::Code::bad_value);
}

TEST(Columns, SuffixesBelongToLimitsOnly) {
  ASSERT_TRUE(find_column("physpages.l"));
  EXPECT_EQ(find_column("physpages.l")->part, Part::limit);
  EXPECT_EQ(find_column("veid")->spec, find_column("ctid")->spec);
  EXPECT_EQ(find_column("vpsid")->spec, find_column("ctid")->spec);
  for (const char* bad : {"", "physpages.x", "physpages.", "hostname.l", "diskspace.l", "ctid.m", "nope"})
    EXPECT_FALSE(find_column(bad)) << bad;
}

TEST(Columns, StatusWords) {
  EXPECT_EQ(status_word({.exists = true, .mounted = true, .running = true}), "running");
  EXPECT_EQ(status_word({.exists = true, .mounted = true}), "mounted");
  EXPECT_EQ(status_word({.exists = true, .suspended = true}), "suspended");
  EXPECT_EQ(status_word({.exists = true}), "stopped");
}

}  // namespace
}  // namespace vzctl

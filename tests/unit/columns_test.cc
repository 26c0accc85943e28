// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/columns.h"

#include <filesystem>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "vzctl/face.h"

namespace vzctl {
namespace {

using vz::Reading;
using vz::Readings;

Readings needed(const char* name, bool whole = false) {
  auto choice = find_column(name);
  EXPECT_TRUE(choice) << name;
  return choice ? needed_readings(*choice, whole) : Readings();
}

TEST(Columns, AskForWhatTheyShow) {
  EXPECT_TRUE(needed("physpages").has(Reading::ram_held));
  EXPECT_FALSE(needed("physpages").any({Reading::ram_max, Reading::ram_limit, Reading::ram_fail}));
  EXPECT_TRUE(needed("physpages.m").has(Reading::ram_max));
  EXPECT_TRUE(needed("physpages.b").empty());
  EXPECT_TRUE(needed("physpages", true).has(Reading::ram_fail)) << "JSON shows all parts";
  EXPECT_TRUE(needed("oomguarpages.f").has(Reading::oom));
  EXPECT_TRUE(needed("privvmpages.m").has(Reading::privvm));
  EXPECT_TRUE(needed("diskspace").has(Reading::disk));
  for (const char* configured :
       {"ctid", "status", "diskspace.h", "diskinodes.s", "vmguarpages", "numtcpsock.l", "kmemsize.b"})
    EXPECT_TRUE(needed(configured).empty()) << configured;
}

TEST(Columns, ShowValuesInTheirUnits) {
  std::string etc = testing::TempDir() + "vz-columns";
  std::filesystem::create_directories(etc);
  std::ofstream(etc + "/vz.conf") << "";
  auto host = vz::Host::open({etc, etc, etc});
  ASSERT_TRUE(host);
  ListItem item;
  item.info.config = vz::Config::parse("PHYSPAGES=\"0:100\"\nSWAPPAGES=\"0:50\"\n", "c");
  item.sample.ram_held = 81920;
  item.sample.swap_held = 4096;
  item.sample.ram_fail = 3;
  item.sample.oom_kills = 2;
  item.sample.kmem_held = 12345;
  auto text = [&](const char* name) {
    auto choice = find_column(name);
    return choice->spec->cell(*host, item, choice->part).text;
  };
  const std::pair<const char*, const char*> rows[] = {
      {"physpages", "20"},    {"physpages.m", "-"},     {"physpages.b", "0"},      {"physpages.l", "100"},
      {"physpages.f", "3"},   {"swappages", "1"},       {"swappages.f", "-"},      {"swappages.l", "50"},
      {"oomguarpages", "21"}, {"oomguarpages.f", "2"},  {"oomguarpages.b", "100"}, {"vmguarpages.b", "150"},
      {"vmguarpages", "-"},   {"lockedpages.l", "100"}, {"kmemsize", "12345"},     {"kmemsize.b", "-"},
      {"privvmpages", "-"},   {"numproc", "-"},         {"shmpages", "-"},
  };
  for (auto [name, expected] : rows) EXPECT_EQ(text(name), expected) << name;
  std::filesystem::remove_all(etc);
}

TEST(Faces, HaveNamesAndHelp) {
  std::set<std::string> names;
  for (const Face& face : faces()) {
    EXPECT_TRUE(names.insert(face.name).second);
    EXPECT_EQ(find_face(face.name), &face);
    EXPECT_FALSE(face.options.empty());
  }
  EXPECT_EQ(find_face("vzctl"), nullptr);
}

TEST(Faces, Percentages) {
  EXPECT_EQ(percentage(1, 8), "12.50");
  EXPECT_EQ(percentage(0, 8), "0.00");
  EXPECT_EQ(percentage(1, 0), "-");
}

}  // namespace
}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/columns.h"

#include <filesystem>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "vzctl/face.h"

namespace vzctl {
namespace {

using vz::Ub;
using vz::UbPart;

vz::UbParts needed(const char* name, bool whole = false) {
  auto choice = find_column(name);
  EXPECT_TRUE(choice) << name;
  return choice ? needed_counters(*choice, whole) : vz::UbParts();
}

TEST(Columns, AskForWhatTheyShow) {
  EXPECT_TRUE(needed("physpages").has(Ub::physpages, UbPart::held));
  EXPECT_FALSE(needed("physpages").has(Ub::physpages, UbPart::maxheld));
  EXPECT_TRUE(needed("physpages.m").has(Ub::physpages, UbPart::maxheld));
  EXPECT_FALSE(needed("physpages.b").has(Ub::physpages, UbPart::held));
  EXPECT_TRUE(needed("physpages", true).has(Ub::physpages, UbPart::failcnt)) << "JSON shows all parts";
  EXPECT_TRUE(needed("numfile.f").has(Ub::numfile, UbPart::failcnt));
  EXPECT_TRUE(needs_disk(*find_column("diskspace"), false));
  EXPECT_FALSE(needs_disk(*find_column("diskspace.h"), false));
  for (const char* configured : {"ctid", "status", "diskspace"}) EXPECT_FALSE(needed(configured).any()) << configured;
}

TEST(Columns, EveryBeancounterHasOne) {
  for (const vz::UbResource& r : vz::ub_resources()) {
    if (!vz::ub_is_real(r)) continue;
    auto choice = find_column(r.name);
    ASSERT_TRUE(choice) << r.name;
    EXPECT_EQ(choice->spec->row, r.id) << r.name;
    for (const char* part : {".m", ".b", ".l", ".f"}) EXPECT_TRUE(find_column(std::string(r.name) + part)) << r.name;
  }
}

std::string text_of(const vz::Host& host, const ListItem& item, const char* name) {
  auto choice = find_column(name);
  return choice->spec->cell(host, item, choice->part).text;
}

TEST(Columns, ShowWhatARunningContainerHasAndAStoppedOneIsPromised) {
  std::string etc = testing::TempDir() + "vz-columns";
  std::filesystem::create_directories(etc);
  std::ofstream(etc + "/vz.conf") << "";
  auto host = vz::Host::open({etc, etc, etc});
  ASSERT_TRUE(host);
  ListItem item;
  item.info.config = vz::Config::parse("PHYSPAGES=\"0:100\"\nSWAPPAGES=\"0:50\"\n", "c");
  const std::pair<const char*, const char*> promised[] = {
      {"physpages", "-"},        {"physpages.b", "0"},     {"physpages.l", "100"},   {"physpages.f", "-"},
      {"oomguarpages.b", "100"}, {"vmguarpages.b", "150"}, {"lockedpages.l", "100"}, {"kmemsize.b", "-"}};
  for (auto [name, expected] : promised) EXPECT_EQ(text_of(*host, item, name), expected) << name;
  item.info.status.running = true;
  item.ub[Ub::physpages] = {20, std::nullopt, 0, 90, 3};
  const std::pair<const char*, const char*> held[] = {{"physpages", "20"},
                                                      {"physpages.m", "-"},
                                                      {"physpages.b", "0"},
                                                      {"physpages.l", "90"},
                                                      {"physpages.f", "3"},
                                                      {"numfile", "-"},
                                                      {"numfile.l", "9223372036854775807"}};
  for (auto [name, expected] : held) EXPECT_EQ(text_of(*host, item, name), expected) << name;
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

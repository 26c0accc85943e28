// SPDX-License-Identifier: GPL-2.0-or-later
#include "libvz/container/apt_sources.h"

#include <gtest/gtest.h>

namespace vz {
namespace {

TEST(AptSources, OneLineStyle) {
  auto s = parse_apt_list(
      "# deb http://old.example/debian stretch main\n"
      "deb http://m.example/debian/ bookworm main contrib # comment\n"
      "deb-src http://m.example/debian bookworm main\n"
      "deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://m.example/debian-security "
      "bookworm-security main\n"
      "deb\ndeb [broken http://x y\ndebug http://x y z\n");
  ASSERT_EQ(s.size(), 2u);
  EXPECT_EQ(s[0].components, (std::vector<std::string>{"main", "contrib"}));
  EXPECT_EQ(s[1].signed_by, "/usr/share/keyrings/debian-archive-keyring.gpg");
  auto m = choose_debian_mirrors(s);
  EXPECT_EQ(m.archive, "http://m.example/debian/");
  EXPECT_EQ(m.security, "https://m.example/debian-security");
}

TEST(AptSources, Deb822) {
  auto s = parse_apt_deb822(
      "Types: deb deb-src\n# in between\nURIs: http://m.example/debian\n  http://second.example/debian\n"
      "Suites: trixie trixie-updates\nComponents: main\n"
      "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\n"
      "types: deb\nuris: http://off.example/debian\nsuites: trixie\ncomponents: main\nenabled: NO\n\n"
      "Types: deb-src\nURIs: http://src.example/debian\nSuites: trixie\nComponents: main\n\n"
      "Types: deb\nURIs: http://m.example/debian-security\nSuites: trixie-security\nComponents: main");
  ASSERT_EQ(s.size(), 2u);
  EXPECT_EQ(s[0].uris.size(), 2u);
  EXPECT_EQ(choose_debian_mirrors(s).archive, "http://m.example/debian");
  EXPECT_EQ(choose_debian_mirrors(s).security, "http://m.example/debian-security");
}

TEST(AptSources, OthersAreNotDebian) {
  auto s = parse_apt_list(
      "deb [signed-by=/etc/apt/keyrings/vendor.gpg] http://vendor.example/debian bookworm main\n"
      "deb http://docker.example/linux/debian bookworm stable\n"
      "deb http://u.example/ubuntu noble main\n"
      "deb cdrom:[Debian]/ bookworm main\n");
  EXPECT_EQ(choose_debian_mirrors(s).archive, "");
  EXPECT_EQ(choose_debian_mirrors(s).security, "");
  EXPECT_EQ(choose_debian_mirrors({}).archive, "");
}

TEST(AptSources, DebianKeyBeatsOrder) {
  auto s = parse_apt_list(
      "deb http://local.example/repo stable main\n"
      "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example/debian bookworm main\n");
  EXPECT_EQ(choose_debian_mirrors(s).archive, "http://m.example/debian");
}

TEST(AptSources, OptionsNeverWeakenSignatures) {
  auto options = choose_apt_options(
      "Acquire::http::Proxy \"http://proxy.example:3128\";\nAcquire::https::Proxy \"\";\n"
      "Acquire::AllowInsecureRepositories \"1\";\nAcquire::AllowWeakRepositories \"1\";\n"
      "APT::Get::AllowUnauthenticated \"1\";\nAcquire::Check-Valid-Until \"false\";\nAcquire::Retries \"3\";\n"
      "Dir \"/\";\nAcquire::http::Proxy");
  EXPECT_EQ(options, (std::vector<std::string>{"Acquire::http::Proxy \"http://proxy.example:3128\";",
                                               "Acquire::Check-Valid-Until \"false\";", "Acquire::Retries \"3\";"}));
}

}  // namespace
}  // namespace vz

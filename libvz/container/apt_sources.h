// SPDX-License-Identifier: LGPL-2.1-or-later
// Where this machine gets Debian from: its apt configuration, read as text. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vz {

// One deb line or stanza of sources.list(5), reduced to what a template build asks for.
struct AptSource {
  std::vector<std::string> uris;
  std::vector<std::string> suites;
  std::vector<std::string> components;
  std::string signed_by;
};
std::vector<AptSource> parse_apt_list(std::string_view text);    // one-line style, .list
std::vector<AptSource> parse_apt_deb822(std::string_view text);  // stanzas, .sources; disabled ones are left out

// URIs of the Debian archive and its security archive: entries with a release of Debian (any: mirrors carry all that
// are supported), component main, and no key but Debian's. "" when there is none.
struct DebianMirrors {
  std::string archive;
  std::string security;
};
DebianMirrors choose_debian_mirrors(const std::vector<AptSource>& sources);

// The lines of `apt-config dump` that say how to reach a mirror (proxies, TLS, clock tolerance), as apt.conf text
// lines. Nothing that weakens signatures is ever among them.
std::vector<std::string> choose_apt_options(std::string_view dump);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/apt_sources.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "libvz/base/text.h"

namespace vz {

namespace {

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// "deb [arch=amd64 signed-by=/x] URI SUITE COMPONENT…"; the bracket may contain blanks.
void add_list_line(std::vector<AptSource>& out, std::string_view line) {
  line = trim(line.substr(0, line.find('#')));
  if (!line.starts_with("deb") || line.size() < 4 || (line[3] != ' ' && line[3] != '\t')) return;
  line = trim(line.substr(3));
  AptSource source;
  if (line.starts_with('[')) {
    auto end = line.find(']');
    if (end == std::string_view::npos) return;
    for (const auto& option : split_blank(line.substr(1, end - 1)))
      if (lower(option).starts_with("signed-by=")) source.signed_by = option.substr(10);
    line = line.substr(end + 1);
  }
  auto words = split_blank(line);
  if (words.size() < 2) return;
  source.uris = {words[0]};
  source.suites = {words[1]};
  source.components.assign(words.begin() + 2, words.end());
  out.push_back(std::move(source));
}

void set_field(AptSource& source, bool& enabled, bool& binary, const std::string& key, const std::string& value) {
  if (key == "uris") source.uris = split_blank(value);
  if (key == "suites") source.suites = split_blank(value);
  if (key == "components") source.components = split_blank(value);
  if (key == "signed-by") source.signed_by = trim(value);
  if (key == "types") binary = has(split_blank(value), "deb");
  if (key == "enabled") {
    auto word = lower(trim(value));
    enabled = !(word == "no" || word == "false" || word == "without" || word == "off" || word == "disable");
  }
}

void add_stanza(std::vector<AptSource>& out, const std::vector<std::pair<std::string, std::string>>& fields) {
  AptSource source;
  bool enabled = true, binary = false;
  for (const auto& [key, value] : fields) set_field(source, enabled, binary, key, value);
  if (enabled && binary && !source.uris.empty() && !source.suites.empty()) out.push_back(std::move(source));
}

constexpr std::array kReleases = {"buster",       "bullseye",  "bookworm", "trixie",  "forky",    "duke",
                                  "oldoldstable", "oldstable", "stable",   "testing", "unstable", "sid"};

bool is_release(std::string_view suite) {
  return std::any_of(kReleases.begin(), kReleases.end(), [&](const char* r) { return suite == r; });
}

bool is_security(std::string_view suite) {
  for (std::string_view tail : {"-security", "/updates"})
    if (suite.ends_with(tail) && is_release(suite.substr(0, suite.size() - tail.size()))) return true;
  return false;
}

// Other archives have suites with Debian's names too; they have keys of their own.
bool may_be_debian(const AptSource& source) {
  bool key = source.signed_by.empty() || source.signed_by.find("debian-archive") != std::string::npos;
  return key && has(source.components, "main");
}

std::string first_usable(const AptSource& source) {
  for (const auto& uri : source.uris)
    if (!uri.starts_with("cdrom:")) return uri;
  return "";
}

// Which of several candidates is Debian most likely: its key named, its usual path.
int score(const AptSource& source, const std::string& uri) {
  std::string_view path = uri;
  while (path.ends_with('/')) path.remove_suffix(1);
  return (source.signed_by.empty() ? 0 : 2) + (path.ends_with("/debian") || path.ends_with("/debian-security") ? 1 : 0);
}

}  // namespace

std::vector<AptSource> parse_apt_list(std::string_view text) {
  std::vector<AptSource> out;
  for (const auto& line : split(text, '\n')) add_list_line(out, line);
  return out;
}

std::vector<AptSource> parse_apt_deb822(std::string_view text) {
  std::vector<AptSource> out;
  std::vector<std::pair<std::string, std::string>> fields;
  auto lines = split(text, '\n');
  lines.push_back("");  // ends the last stanza
  for (const auto& line : lines) {
    if (line.starts_with('#')) continue;
    if (trim(line).empty()) {
      add_stanza(out, fields);
      fields.clear();
    } else if (line[0] == ' ' || line[0] == '\t') {
      if (!fields.empty()) fields.back().second += "\n" + line;
    } else if (auto colon = line.find(':'); colon != std::string::npos) {
      fields.emplace_back(lower(trim(line.substr(0, colon))), line.substr(colon + 1));
    }
  }
  return out;
}

DebianMirrors choose_debian_mirrors(const std::vector<AptSource>& sources) {
  DebianMirrors out;
  int best_archive = -1, best_security = -1;
  for (const auto& source : sources) {
    auto uri = first_usable(source);
    if (uri.empty() || !may_be_debian(source)) continue;
    int points = score(source, uri);
    if (points > best_archive && std::any_of(source.suites.begin(), source.suites.end(), is_release)) {
      out.archive = uri;
      best_archive = points;
    }
    if (points > best_security && std::any_of(source.suites.begin(), source.suites.end(), is_security)) {
      out.security = uri;
      best_security = points;
    }
  }
  return out;
}

std::vector<std::string> choose_apt_options(std::string_view dump) {
  std::vector<std::string> out;
  for (const auto& line : split(dump, '\n')) {
    bool wanted = false;
    for (const char* prefix :
         {"Acquire::http::", "Acquire::https::", "Acquire::ftp::", "Acquire::tor::", "Acquire::Retries ",
          "Acquire::Check-Valid-Until ", "Acquire::Check-Date ", "Acquire::ForceIPv4 ", "Acquire::ForceIPv6 "})
      wanted |= line.starts_with(prefix);
    if (wanted && line.ends_with("\";") && !line.ends_with(" \"\";")) out.push_back(line);
  }
  return out;
}

}  // namespace vz

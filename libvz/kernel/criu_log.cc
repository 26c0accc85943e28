// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>
#include <cctype>
#include <vector>

#include "libvz/base/text.h"
#include "libvz/kernel/criu.h"

namespace vz {

namespace {

constexpr std::size_t kShown = 3;

// Tried and done without; the last two only say that something failed.
constexpr std::string_view kNoise[] = {"RLIMIT_NOFILE",
                                       "tables",
                                       "nft: ",
                                       "Dumping FAILED",
                                       "Restoring FAILED",
                                       "cgroupd: recv req",
                                       "RPC client reported",
                                       "action scripts failed"};

// "(00.345048)      1: Error (criu/mount-v2.c:482): mnt-v2: Unable to …" without what only a developer needs.
std::string_view message_of(std::string_view line) {
  std::size_t at = line.find("Error (");
  if (at == line.npos) return {};
  std::size_t end = line.find("): ", at);
  return end == line.npos ? line.substr(at) : trim(line.substr(end + 3));
}

bool is_noise(std::string_view message) {
  return std::any_of(std::begin(kNoise), std::end(kNoise),
                     [&](std::string_view noise) { return message.find(noise) != message.npos; });
}

}  // namespace

std::string criu_log_errors(std::string_view log) {
  std::vector<std::string> found;
  for (const auto& line : split(log, '\n')) {
    std::string_view message = message_of(line);
    if (message.empty() || is_noise(message)) continue;
    std::string clean(message);
    // The log quotes names that the container chose.
    for (char& c : clean)
      if (std::iscntrl(static_cast<unsigned char>(c))) c = '?';
    if (found.empty() || found.back() != clean) found.push_back(std::move(clean));
  }
  if (found.size() > kShown) found.erase(found.begin(), found.end() - kShown);
  return join(found, "; ");
}

bool criu_refusal_passes(std::string_view message) {
  constexpr std::string_view kPassing[] = {"Control messages in queue", "in-flight socket", "error parsing [inotify"};
  return std::any_of(std::begin(kPassing), std::end(kPassing),
                     [&](std::string_view text) { return message.find(text) != message.npos; });
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// The text of /proc/user_beancounters, read.
#include <vz/beancounters.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/value.h"

namespace vz {

namespace {

constexpr std::size_t kNumbers = 5;

bool is_heading(const std::vector<std::string>& words) {
  return words.empty() || words[0] == "Version:" || words[0] == "uid" || words[0] == "resource";
}

tl::unexpected<Error> bad_line(std::size_t number, std::string_view line, const std::string& why) {
  return fail(Code::bad_value, fmt::format("line {}: {}: {}", number, why, printable(line)));
}

// "101:" in front of the first row of a container. An id and its colon may be words of their own.
Result<std::optional<Ctid>> take_id(std::vector<std::string>& words) {
  const bool apart = words.size() > 1 && words[1] == ":";
  if (!apart && !words[0].ends_with(':')) return std::optional<Ctid>();
  std::string id = apart ? words[0] : words[0].substr(0, words[0].size() - 1);
  words.erase(words.begin(), words.begin() + (apart ? 2 : 1));
  return std::optional(VZ_TRY(Ctid::parse(id)));
}

Result<UbCounter> counter_of(const std::vector<std::string>& words) {
  std::uint64_t n[kNumbers];
  for (std::size_t i = 0; i < kNumbers; ++i) n[i] = VZ_TRY(parse_u64(words[i + 1]));
  UbCounter out;
  out.held = n[0];
  out.maxheld = n[1];
  out.barrier = n[2];
  out.limit = n[3];
  out.failcnt = n[4];
  return out;
}

}  // namespace

Result<std::vector<UbSnapshot>> parse_ub_text(std::string_view text, Ctid otherwise) {
  std::vector<UbSnapshot> out;
  std::size_t number = 0;
  for (const auto& line : split(text, '\n')) {
    ++number;
    auto words = split_blank(line);
    if (is_heading(words)) continue;
    auto id = take_id(words);
    if (!id) return bad_line(number, line, id.error().message());
    if (*id || out.empty()) {
      out.emplace_back();
      out.back().id = *id ? **id : otherwise;
    }
    if (words.size() != kNumbers + 1) return bad_line(number, line, "not a name and five numbers");
    auto counter = counter_of(words);
    if (!counter) return bad_line(number, line, counter.error().message());
    if (const auto* r = find_ub_resource(words[0])) out.back()[r->id] = *counter;
  }
  return out;
}

}  // namespace vz

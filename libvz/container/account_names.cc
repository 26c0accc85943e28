// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/account_names.h"

#include <algorithm>

#include "libvz/base/text.h"

namespace vz {

namespace {

constexpr std::size_t kNameMax = 32;

bool is_name(std::string_view name) {
  if (!name.empty() && name.back() == '$') name.remove_suffix(1);
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= kNameMax && std::all_of(name.begin(), name.end(), fits);
}

}  // namespace

AccountNames AccountNames::parse(std::string_view text) {
  AccountNames out;
  for (const auto& line : split(text, '\n')) {
    auto fields = split(line, ':');
    auto id = fields.size() >= 3 ? parse_u64(fields[2]) : fail(Code::bad_value, "");
    if (!id || *id >= UINT32_MAX || !is_name(fields[0])) continue;
    out.names_.emplace(static_cast<std::uint32_t>(*id), fields[0]);
    out.ids_.emplace(fields[0], static_cast<std::uint32_t>(*id));
  }
  return out;
}

std::string AccountNames::name_of(std::uint32_t id) const {
  auto found = names_.find(id);
  return found == names_.end() ? "" : found->second;
}

std::optional<std::uint32_t> AccountNames::id_of(const std::string& name) const {
  auto found = ids_.find(name);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

}  // namespace vz

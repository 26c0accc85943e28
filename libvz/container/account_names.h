// SPDX-License-Identifier: LGPL-2.1-or-later
// /etc/passwd or /etc/group of a container: names for people to read, decided by the container.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace vz {

class AccountNames {
 public:
  // Lines whose name is not [A-Za-z0-9._-]+$? of at most 32 bytes, or whose id is no number, are passed over. Of
  // several names or ids the first one counts, as in getpwuid(3).
  static AccountNames parse(std::string_view text);
  std::string name_of(std::uint32_t id) const;  // "" without one
  std::optional<std::uint32_t> id_of(const std::string& name) const;

 private:
  std::map<std::uint32_t, std::string> names_;
  std::map<std::string, std::uint32_t> ids_;
};

}  // namespace vz

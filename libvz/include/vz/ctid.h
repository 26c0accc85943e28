// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include <vz/error.h>

namespace vz {

// A container's number: 1..2147483644 (vzctl(8)); 0 is the host. Numbers up to 100 are reserved by
// convention and accepted.
class Ctid {
 public:
  static constexpr std::uint32_t kMax = 2147483644;
  constexpr explicit Ctid(std::uint32_t value) : value_(value) {}

  // Digits only, no sign or blanks. Code::bad_value otherwise. 0 parses; callers refuse it where it makes no sense.
  VZ_API static Result<Ctid> parse(std::string_view text);

  constexpr std::uint32_t value() const { return value_; }
  std::string str() const { return std::to_string(value_); }
  auto operator<=>(const Ctid&) const = default;

 private:
  std::uint32_t value_;
};

}  // namespace vz

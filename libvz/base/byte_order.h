// SPDX-License-Identifier: LGPL-2.1-or-later
// Numbers as they go over a wire: least significant byte first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vz {

inline std::string little_endian(std::uint64_t value, unsigned bytes = 8) {
  std::string out(bytes, '\0');
  for (unsigned i = 0; i < bytes; ++i) out[i] = static_cast<char>(value >> (8 * i));
  return out;
}
inline std::string little_endian32(std::uint32_t value) { return little_endian(value, 4); }

// The first bytes of `text`, as many as it has.
inline std::uint64_t from_little_endian(std::string_view text, unsigned bytes = 8) {
  std::uint64_t out = 0;
  for (unsigned i = 0; i < bytes && i < text.size(); ++i)
    out |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
  return out;
}
inline std::uint32_t from_little_endian32(std::string_view text) {
  return static_cast<std::uint32_t>(from_little_endian(text, 4));
}

}  // namespace vz

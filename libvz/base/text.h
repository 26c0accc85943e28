// SPDX-License-Identifier: LGPL-2.1-or-later
// Small pure functions on text that the standard library lacks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>

namespace vz {

std::string_view trim(std::string_view text);                     // blanks, tabs, newlines at both ends
std::vector<std::string> split(std::string_view text, char sep);  // keeps empty fields; "" gives {}
std::vector<std::string> split_blank(std::string_view text);      // runs of blanks; no empty fields
std::string join(const std::vector<std::string>& parts, std::string_view sep);

std::string to_hex(std::string_view bytes);             // two lower-case digits a byte
Result<std::string> from_hex(std::string_view digits);  // Code::bad_value

// A decimal number, digits only, no sign; nothing else may follow. Code::bad_value, also on overflow.
Result<std::uint64_t> parse_u64(std::string_view text);

// Of the first line that starts with `key` ("Uid:", "usage_usec "): what follows, without the blanks around it; "" when
// there is none.
std::string_view line_value(std::string_view text, std::string_view key);

// /proc/self/mountinfo and /proc/swaps write blank, tab, newline and backslash as \ooo; everything else stays.
std::string unescape_octal(std::string_view text);

}  // namespace vz

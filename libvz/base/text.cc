// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/base/text.h"

#include <algorithm>
#include <charconv>

namespace vz {

namespace {
constexpr std::string_view kBlanks = " \t\r\n\v\f";
}

std::string_view trim(std::string_view text) {
  auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::vector<std::string> split(std::string_view text, char sep) {
  std::vector<std::string> out;
  if (text.empty()) return out;
  for (;;) {
    auto at = text.find(sep);
    out.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

std::vector<std::string> split_blank(std::string_view text) {
  std::vector<std::string> out;
  for (;;) {
    auto first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) return out;
    text.remove_prefix(first);
    auto end = text.find_first_of(kBlanks);
    out.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end);
  }
}

std::string join(const std::vector<std::string>& parts, std::string_view sep) {
  std::string out;
  for (const auto& part : parts) {
    if (&part != parts.data()) out += sep;
    out += part;
  }
  return out;
}

std::string to_hex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(2 * bytes.size());
  for (unsigned char c : bytes) {
    out += kDigits[c >> 4];
    out += kDigits[c & 15];
  }
  return out;
}

Result<std::string> from_hex(std::string_view digits) {
  std::string out(digits.size() / 2, '\0');
  const bool even = digits.size() % 2 == 0;
  for (std::size_t i = 0; even && i < out.size(); ++i) {
    unsigned char byte = 0;
    const char* first = digits.data() + 2 * i;
    if (auto [end, ec] = std::from_chars(first, first + 2, byte, 16); ec != std::errc() || end != first + 2) break;
    out[i] = static_cast<char>(byte);
    if (i + 1 == out.size()) return out;
  }
  if (digits.empty()) return out;
  return fail(Code::bad_value, "not bytes in hexadecimal: '" + std::string(digits.substr(0, 40)) + "'");
}

Result<std::uint64_t> parse_u64(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec == std::errc::result_out_of_range) return fail(Code::bad_value, "number out of range: " + std::string(text));
  if (ec != std::errc() || end != text.data() + text.size() || text.empty())
    return fail(Code::bad_value, "not a number: '" + std::string(text) + "'");
  return value;
}

std::string_view line_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    if (line.starts_with(key)) return trim(line.substr(key.size()));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return {};
}

std::string unescape_octal(std::string_view text) {
  auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace vz

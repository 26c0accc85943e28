// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "libvz/base/text.h"

namespace vz {

namespace {

__extension__ typedef unsigned __int128 u128;

constexpr std::uint64_t kMaxBytes = Limit::kUnlimited;  // LONG_MAX, what the kernel's files take
constexpr std::uint64_t kPage = 4096;

constexpr const char* kSizeHint = "use K, M, G or T (powers of 1024), P for 4 KiB pages, B for bytes, or 'unlimited'";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_alnum(char c) { return is_digit(c) || is_alpha(c); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

bool equal_no_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == y; });
}

bool means_unlimited(std::string_view text) {
  return equal_no_case(text, "unlimited") || equal_no_case(text, "max") || equal_no_case(text, "infinity");
}

tl::unexpected<Error> bad(std::string reason, std::string hint = {}) {
  return fail(Error(Code::bad_value, std::move(reason)).with_hint(std::move(hint)));
}

tl::unexpected<Error> not_a_number(std::string_view text) {
  if (text.empty()) return bad("the value is empty");
  if (text[0] == '-' && text.size() > 1 && (is_digit(text[1]) || text[1] == '.')) return bad("must not be negative");
  if (text.find_first_of(" \t\r\n\v\f") != text.npos) return bad("no blanks are allowed in a number");
  return bad("not a number");
}

std::uint64_t unit_bytes(Unit unit) {
  switch (unit) {
    case Unit::pages:
      return kPage;
    case Unit::kib:
      return 1024;
    case Unit::count:
    case Unit::bytes:
      break;
  }
  return 1;
}

// Bytes per suffix; nullopt for an unknown one.
std::optional<std::uint64_t> suffix_bytes(std::string_view suffix) {
  if (suffix.empty()) return std::nullopt;
  char first = lower(suffix[0]);
  std::string_view rest = suffix.substr(1);
  if (rest.empty() && first == 'b') return 1;
  if (rest.empty() && first == 'p') return kPage;
  if (!rest.empty() && !equal_no_case(rest, "b") && !equal_no_case(rest, "i") && !equal_no_case(rest, "ib"))
    return std::nullopt;
  switch (first) {
    case 'k':
      return 1ull << 10;
    case 'm':
      return 1ull << 20;
    case 'g':
      return 1ull << 30;
    case 't':
      return 1ull << 40;
    default:
      return std::nullopt;
  }
}

// digits[.digits] at the start of `text`, exact up to nine decimals.
struct Decimal {
  u128 billionths = 0;
  bool fraction = false;
  bool too_large = false;
  std::size_t length = 0;  // 0: no number
};

Decimal scan_decimal(std::string_view text) {
  Decimal d;
  std::size_t i = 0;
  u128 whole = 0;
  for (; i < text.size() && is_digit(text[i]); ++i) {
    if (whole <= kMaxBytes) whole = whole * 10 + static_cast<unsigned>(text[i] - '0');
  }
  if (i == 0) return d;
  d.too_large = whole > kMaxBytes;
  std::uint64_t parts = 0, scale = 1000000000;
  if (i + 1 < text.size() && text[i] == '.' && is_digit(text[i + 1])) {
    d.fraction = true;
    for (++i; i < text.size() && is_digit(text[i]); ++i) {
      if (scale == 1) continue;  // below any unit that could matter
      scale /= 10;
      parts += static_cast<unsigned>(text[i] - '0') * scale;
    }
  }
  d.billionths = d.too_large ? 0 : whole * 1000000000 + parts;
  d.length = i;
  return d;
}

struct SizeRule {
  std::uint64_t bare;    // bytes that a bare number counts
  std::uint64_t result;  // bytes per unit of the result
  bool suffixes = true;
  bool pages_suffix = true;
};

Result<std::uint64_t> scan_size(std::string_view text, const SizeRule& rule) {
  Decimal d = scan_decimal(text);
  if (d.length == 0) return not_a_number(text);
  std::string_view suffix = text.substr(d.length);
  std::uint64_t multiplier = rule.bare;
  if (!suffix.empty()) {
    if (!rule.suffixes)
      return bad("unexpected '" + printable(suffix) + "' after the number", "a count takes no suffix");
    if (suffix.find_first_of(" \t\r\n\v\f") != suffix.npos) return bad("no blanks are allowed in a number");
    auto bytes = suffix_bytes(suffix);
    if (!bytes || (!rule.pages_suffix && lower(suffix[0]) == 'p'))
      return bad("unknown size suffix '" + printable(suffix) + "'", kSizeHint);
    multiplier = *bytes;
  }
  if (d.fraction && multiplier == 1) return bad("must be a whole number");
  if (d.fraction && suffix.empty()) return bad("a fraction needs a suffix", "write 1.5G, for example");
  if (!d.too_large && suffix.empty() && d.billionths == u128(Limit::kUnlimited) * 1000000000)
    return Limit::kUnlimited;  // LONG_MAX, as beancounter files of 64-bit hosts spell it
  // < 2^63 * 2^30 * 2^40 would not fit: compare before multiplying.
  if (d.too_large || d.billionths / 1000000000 > kMaxBytes / multiplier)
    return bad("the number is too large", "the largest size is 8388607T");
  u128 scaled = d.billionths * multiplier;
  u128 per_result = u128(rule.result) * 1000000000;
  u128 value = (scaled + per_result - 1) / per_result;
  if (value > kMaxBytes / rule.result) return bad("the number is too large", "the largest size is 8388607T");
  return static_cast<std::uint64_t>(value);
}

// "[r][w][q]" or "none" after a device; empty is an error.
template <class Rule>
Result<> parse_access(std::string_view text, Rule& rule) {
  if (text == "none") return {};
  if (text.empty()) return bad("access is missing", "write r, w, rw, rwq or none after the last colon");
  for (char c : text) {
    bool* flag = c == 'r' ? &rule.read : c == 'w' ? &rule.write : c == 'q' ? &rule.quota : nullptr;
    if (!flag) return bad("unknown access '" + printable(text) + "'", "use r, w, rw, rwq or none");
    if (*flag) return bad("'" + std::string(1, c) + "' is given twice in '" + printable(text) + "'");
    *flag = true;
  }
  return {};
}

template <class Rule>
std::string format_access(const Rule& rule) {
  std::string out;
  if (rule.read) out += 'r';
  if (rule.write) out += 'w';
  if (rule.quota) out += 'q';
  return out.empty() ? "none" : out;
}

Result<std::uint32_t> parse_device_number(std::string_view text, std::uint32_t max, const char* what) {
  auto n = parse_u64(text);
  if (!n || *n > max)
    return bad(std::string(what) + " device number '" + printable(text) + "' is not in 0.." + std::to_string(max));
  return static_cast<std::uint32_t>(*n);
}

Result<DeviceEntry> parse_device_rule(std::string_view word) {
  auto parts = split(word, ':');
  if (parts.size() != 4)
    return bad("bad device rule '" + printable(word) + "'", "write b|c:MAJOR:MINOR|all:[r][w][q]|none");
  DeviceEntry rule;
  if (parts[0] != "b" && parts[0] != "c")
    return bad("device type '" + printable(parts[0]) + "' is neither b nor c in '" + printable(word) + "'");
  rule.type = parts[0][0];
  rule.major = VZ_TRY(parse_device_number(parts[1], 4095, "major"));
  if (parts[2] != "all") rule.minor = VZ_TRY(parse_device_number(parts[2], 1048575, "minor"));
  VZ_TRY(parse_access(parts[3], rule));
  bool granted = rule.read || rule.write;
  if (rule.major == 7 && granted && rule.type == 'b')
    return bad("loop devices (block major 7) cannot be given to a container",
               "a loop device may carry another container's disk");
  if (rule.major == 7 && granted)
    return bad("virtual console memory (character major 7) cannot be given to a container",
               "it shows what is on the host's screen");
  return rule;
}

Result<DevnodeEntry> parse_devnode_rule(std::string_view word) {
  auto colon = word.rfind(':');
  if (colon == word.npos)
    return bad("access is missing in '" + printable(word) + "'", "write NAME:[r][w][q]|none, as in net/tun:rw");
  DevnodeEntry rule;
  rule.name = std::string(word.substr(0, colon));
  if (rule.name.starts_with("/dev/")) rule.name.erase(0, 5);
  if (rule.name.empty() || rule.name.size() > 255) return bad("bad device name in '" + printable(word) + "'");
  for (const auto& part : split(rule.name, '/')) {
    bool fine = !part.empty() && part != "." && part != ".." && std::all_of(part.begin(), part.end(), [](char c) {
      return is_alnum(c) || c == '_' || c == '-' || c == '.';
    });
    if (!fine) return bad("bad device name '" + printable(rule.name) + "'", "give the name below /dev, as in net/tun");
  }
  VZ_TRY(parse_access(word.substr(colon + 1), rule));
  if (rule.name.starts_with("loop") && (rule.read || rule.write))
    return bad("loop devices cannot be given to a container", "a loop device may carry another container's disk");
  return rule;
}

template <class Rule>
Result<std::vector<Rule>> parse_rules(std::string_view text, Result<Rule> (*parse)(std::string_view)) {
  std::vector<Rule> out;
  for (const auto& word : split_blank(text)) out.push_back(VZ_TRY(parse(word)));
  return out;
}

constexpr std::uint32_t kMaxCpus = 8192;

Result<std::uint32_t> parse_cpu(std::string_view text) {
  auto n = parse_u64(text);
  if (!n) return bad("bad CPU or node list", "write numbers and ranges, as in 0-3,5");
  if (*n >= kMaxCpus) return bad("number " + printable(text) + " is above " + std::to_string(kMaxCpus - 1));
  return static_cast<std::uint32_t>(*n);
}

bool bad_label(std::string_view label) { return label.empty() || label.size() > 63 || label.front() == '-'; }

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 60;
  std::string out;
  for (char c : text.substr(0, kMost)) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 32 && byte != 127) {
      out += c;
      continue;
    }
    char hex[8];
    (void)std::snprintf(hex, sizeof hex, "\\x%02x", byte);
    out += hex;
  }
  if (text.size() > kMost) out += "...";
  return out;
}

Result<std::uint64_t> parse_size(std::string_view text, Unit unit) {
  if (means_unlimited(text)) return Limit::kUnlimited;
  std::uint64_t bytes = unit_bytes(unit);
  return scan_size(text, {.bare = bytes, .result = bytes, .suffixes = unit != Unit::count});
}

std::string format_size(std::uint64_t value, Unit unit) {
  if (value == Limit::kUnlimited) return "unlimited";
  if (unit == Unit::count || value == 0) return std::to_string(value);
  u128 bytes = u128(value) * unit_bytes(unit);
  constexpr std::array<std::pair<int, char>, 3> kSuffixes = {{{40, 'T'}, {30, 'G'}, {20, 'M'}}};
  for (auto [shift, suffix] : kSuffixes) {
    if (bytes % (u128(1) << shift) == 0) return std::to_string(static_cast<std::uint64_t>(bytes >> shift)) + suffix;
  }
  return std::to_string(value);
}

Result<Limit> parse_limit(std::string_view text, Unit unit, Single single) {
  auto colon = text.find(':');
  Limit out;
  if (colon == text.npos) {
    out.limit = VZ_TRY(parse_size(text, unit));
    out.barrier = single == Single::both ? out.limit : 0;
    return out;
  }
  std::string_view left = text.substr(0, colon), right = text.substr(colon + 1);
  if (left.empty() || right.empty()) return bad("a number is missing next to ':'", "write barrier:limit or one number");
  if (right.find(':') != right.npos) return bad("too many ':'", "write barrier:limit or one number");
  out.barrier = VZ_TRY(parse_size(left, unit));
  out.limit = VZ_TRY(parse_size(right, unit));
  if (out.barrier > out.limit)
    return bad("barrier " + printable(left) + " is above limit " + printable(right),
               "the first number is the smaller one");
  return out;
}

std::string format_limit(const Limit& limit, Unit unit) {
  return format_size(limit.barrier, unit) + ":" + format_size(limit.limit, unit);
}

Result<std::uint64_t> parse_io_rate(std::string_view text, std::uint64_t bare) {
  if (means_unlimited(text)) return 0;
  auto rate = VZ_TRY(scan_size(text, {.bare = bare, .result = 1, .pages_suffix = false}));
  return rate == Limit::kUnlimited ? 0 : rate;
}

Result<std::uint64_t> parse_percent(std::string_view text) {
  if (means_unlimited(text)) return 0;
  std::string_view digits = text.ends_with('%') ? text.substr(0, text.size() - 1) : text;
  if (auto n = parse_u64(digits)) return *n;
  Decimal d = scan_decimal(digits);
  if (d.length == 0) return not_a_number(digits);
  if (d.too_large || digits.find_first_not_of("0123456789") == digits.npos) return bad("the number is too large");
  return bad("not a whole number of percent", "write 50 or 50%");
}

Result<double> parse_real(std::string_view text) {
  Decimal d = scan_decimal(text);
  if (d.length == 0) return not_a_number(text);
  if (d.length != text.size()) return bad("not a decimal number", "write digits, as in 1.5");
  if (d.too_large || d.billionths > u128(1000000000) * 1000000000) return bad("the number is too large");
  return static_cast<double>(static_cast<std::uint64_t>(d.billionths)) / 1e9;
}

Result<std::string> normalize_cpu_list(std::string_view text) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
  if (text.empty()) return bad("the list is empty", "write numbers and ranges, as in 0-3,5");
  for (const auto& part : split(text, ',')) {
    auto dash = part.find('-');
    auto first = VZ_TRY(parse_cpu(std::string_view(part).substr(0, dash)));
    auto last = dash == part.npos ? first : VZ_TRY(parse_cpu(std::string_view(part).substr(dash + 1)));
    if (first > last) return bad("range " + printable(part) + " runs backwards");
    ranges.emplace_back(first, last);
  }
  std::sort(ranges.begin(), ranges.end());
  std::string out;
  for (std::size_t i = 0; i < ranges.size();) {
    auto [first, last] = ranges[i];
    for (++i; i < ranges.size() && ranges[i].first <= last + 1; ++i) last = std::max(last, ranges[i].second);
    if (!out.empty()) out += ',';
    out += std::to_string(first);
    if (last > first) out += (last == first + 1 ? "," : "-") + std::to_string(last);
  }
  return out;
}

Result<std::vector<OnOff>> parse_on_off_list(std::string_view text) {
  std::vector<OnOff> out;
  for (const auto& word : split_words(text)) {
    auto colon = word.find(':');
    std::string_view value = colon == word.npos ? std::string_view() : std::string_view(word).substr(colon + 1);
    if (colon == 0 || (value != "on" && value != "off"))
      return bad("bad word '" + printable(word) + "'", "write NAME:on or NAME:off, several separated by commas");
    out.push_back({lower_case(std::string_view(word).substr(0, colon)), value == "on"});
  }
  return out;
}

std::string format_on_off_list(const std::vector<OnOff>& list) {
  std::string out;
  for (const auto& item : list) {
    if (!out.empty()) out += ' ';
    out += item.name + (item.on ? ":on" : ":off");
  }
  return out;
}

Result<std::vector<DeviceEntry>> parse_device_list(std::string_view text) {
  return parse_rules(text, parse_device_rule);
}

std::string format_device_list(const std::vector<DeviceEntry>& rules) {
  std::string out;
  for (const auto& rule : rules) {
    if (!out.empty()) out += ' ';
    out += std::string(1, rule.type) + ":" + std::to_string(rule.major) + ":" +
           (rule.minor ? std::to_string(*rule.minor) : "all") + ":" + format_access(rule);
  }
  return out;
}

Result<std::vector<DevnodeEntry>> parse_devnode_list(std::string_view text) {
  return parse_rules(text, parse_devnode_rule);
}

std::string format_devnode_list(const std::vector<DevnodeEntry>& rules) {
  std::string out;
  for (const auto& rule : rules) {
    if (!out.empty()) out += ' ';
    out += rule.name + ":" + format_access(rule);
  }
  return out;
}

Result<> check_container_name(std::string_view text) {
  if (text.empty()) return bad("the name is empty");
  if (text.size() > 128) return bad("the name is longer than 128 characters");
  bool digits = true;
  for (char c : text) {
    digits = digits && is_digit(c);
    if (!is_alnum(c) && std::string_view(" -+_.").find(c) == std::string_view::npos)
      return bad("the name has a character that is not allowed: '" + printable(std::string_view(&c, 1)) + "'",
                 "letters, digits, blank, '-', '+', '_' and '.' are allowed");
  }
  if (digits) return bad("the name has only digits, it would be taken for a container's number");
  if (text.front() == '-') return bad("the name begins with '-', it would be taken for an option");
  if (text.front() == ' ' || text.back() == ' ') return bad("the name begins or ends with a blank");
  if (text.front() == '.') return bad("the name begins with '.'");
  return {};
}

Result<> check_hostname(std::string_view text) {
  if (text.empty()) return bad("the host name is empty");
  if (text.size() > 64) return bad("the host name is longer than 64 characters");
  for (char c : text) {
    if (!is_alnum(c) && c != '-' && c != '.' && c != '_')
      return bad("the host name has a character that is not allowed: '" + printable(std::string_view(&c, 1)) + "'",
                 "letters, digits, '-' and '.' are allowed");
  }
  for (const auto& label : split(text, '.')) {
    if (bad_label(label)) return bad("the host name has a bad part '" + printable(label) + "'");
  }
  return {};
}

Result<> check_ifname(std::string_view text) {
  // dev_valid_name() of the kernel, less the characters that configuration files give a meaning.
  if (text.empty() || text == "." || text == "..") return bad("bad interface name '" + printable(text) + "'");
  if (text.size() > 15) return bad("interface name '" + printable(text) + "' is longer than 15 characters");
  for (char c : text) {
    if (!is_alnum(c) && c != '-' && c != '.' && c != '_' && c != '@')
      return bad("bad interface name '" + printable(text) + "'", "letters, digits, '-', '.' and '_' are allowed");
  }
  return {};
}

Result<> check_file_name(std::string_view text) {
  if (text.empty() || text == "." || text == "..") return bad("bad name '" + printable(text) + "'");
  if (text.size() > 200) return bad("the name is longer than 200 characters");
  for (char c : text) {
    if (!is_alnum(c) && std::string_view("-+_.@:").find(c) == std::string_view::npos)
      return bad("bad name '" + printable(text) + "'", "letters, digits, '-', '+', '_', '.', '@' and ':' are allowed");
  }
  return {};
}

std::vector<std::string> split_words(std::string_view text) {
  constexpr std::string_view kSeparators = ", \t\r\n\v\f";
  std::vector<std::string> out;
  for (;;) {
    auto first = text.find_first_not_of(kSeparators);
    if (first == text.npos) return out;
    text.remove_prefix(first);
    auto end = std::min(text.find_first_of(kSeparators), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

}  // namespace vz

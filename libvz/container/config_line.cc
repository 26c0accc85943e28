// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/config_line.h"

#include <algorithm>

namespace vz {

namespace {

constexpr std::string_view kBlanks = " \t\v\f";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool is_key_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_key_char(char c) { return is_key_start(c) || (c >= '0' && c <= '9'); }

std::size_t skip_blanks(std::string_view line, std::size_t at) {
  return std::min(line.find_first_not_of(kBlanks, at), line.size());
}

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  while (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

LineParts garbage(const char* problem) {
  LineParts parts;
  parts.problem = problem;
  return parts;
}

// Behind a closing quote only blanks and a comment may follow.
bool only_comment(std::string_view rest) {
  auto at = skip_blanks(rest, 0);
  return at == rest.size() || rest[at] == '#' || rest[at] == ';';
}

void scan_quoted(std::string_view line, std::size_t at, LineParts& parts) {
  parts.quote = line[at];
  parts.value = at + 1;
  std::size_t end = at + 1;
  while (end < line.size() && line[end] != parts.quote) {
    if (parts.quote == '"' && line[end] == '\\') {
      parts.plain = false;
      ++end;
    }
    ++end;
  }
  if (end >= line.size()) {
    parts.value_size = line.size() - parts.value;
    parts.problem = "the quote is not closed";
    return;
  }
  parts.value_size = end - parts.value;
  if (!only_comment(line.substr(end + 1))) parts.problem = "unexpected text after the closing quote";
}

// As vzctl always read it: up to a comment, blanks inside included.
void scan_bare(std::string_view line, std::size_t at, LineParts& parts) {
  std::size_t end = at;
  while (end < line.size() && !(line[end] == '#' && (end == at || kBlanks.find(line[end - 1]) != kBlanks.npos))) ++end;
  while (end > at && kBlanks.find(line[end - 1]) != kBlanks.npos) --end;
  parts.value = at;
  parts.value_size = end - at;
  if (line.substr(at, end - at).find_first_of("\"'`\\") != line.npos)
    parts.problem = "a value with quotes or backslashes must itself be quoted";
}

// "$VEID" or "${VEID}" at `at`; its length, else 0.
std::size_t veid_length(std::string_view text, std::size_t at) {
  if (text.substr(at, 7) == "${VEID}") return 7;
  if (text.substr(at, 5) != "$VEID") return 0;
  return at + 5 < text.size() && is_key_char(text[at + 5]) ? 0 : 5;
}

}  // namespace

bool is_key(std::string_view text) {
  return !text.empty() && is_key_start(text[0]) && std::all_of(text.begin(), text.end(), is_key_char);
}

LineParts scan_line(std::string_view whole) {
  auto line = without_line_end(whole);
  std::size_t at = line.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  at = skip_blanks(line, at);
  if (at == line.size() || line[at] == '#') return {};
  if (line.substr(at).starts_with("export ")) at = skip_blanks(line, at + 7);
  std::size_t end = at;
  while (end < line.size() && is_key_char(line[end])) ++end;
  auto equals = skip_blanks(line, end);
  if (equals == line.size() || line[equals] != '=' || !is_key(line.substr(at, end - at)))
    return garbage("not of the form KEY=\"value\"");
  LineParts parts;
  parts.key = at;
  parts.key_size = end - at;
  parts.plain = true;
  at = skip_blanks(line, equals + 1);
  if (line.find('\0') != line.npos) {
    parts.value = at;
    parts.value_size = line.size() - at;
    parts.problem = "the line has a NUL byte";
  } else if (at < line.size() && (line[at] == '"' || line[at] == '\'')) {
    scan_quoted(line, at, parts);
  } else {
    scan_bare(line, at, parts);
  }
  return parts;
}

std::string unquote(std::string_view raw, char quote) {
  if (quote != '"' || raw.find('\\') == raw.npos) return std::string(raw);
  std::string out;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    bool escape = raw[i] == '\\' && i + 1 < raw.size() && std::string_view("\\\"$`").find(raw[i + 1]) != raw.npos;
    out += raw[escape ? ++i : i];
  }
  return out;
}

std::string quote(std::string_view value) {
  std::string out = "\"";
  for (std::size_t i = 0; i < value.size(); ++i) {
    char c = value[i];
    auto byte = static_cast<unsigned char>(c);
    if (byte < 32 || byte == 127) c = ' ';
    if (c == '"' || c == '\\' || c == '`' || (c == '$' && !veid_length(value, i))) out += '\\';
    out += c;
  }
  return out + '"';
}

std::string with_value(std::string_view line, const LineParts& parts, std::string_view quoted) {
  auto content = without_line_end(line);
  std::size_t begin = parts.value - (parts.quote ? 1 : 0);
  // A line that is not understood loses everything behind '='.
  std::size_t end = parts.problem ? content.size() : parts.value + parts.value_size + (parts.quote ? 1 : 0);
  std::string out(line.substr(0, begin));
  out += quoted;
  out += line.substr(end);
  return out;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include <vz/http.h>

namespace vz {
namespace {

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Internal Server Error";
  }
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

bool same_name(std::string_view name, std::string_view lower) {
  return std::equal(name.begin(), name.end(), lower.begin(), lower.end(),
                    [](unsigned char a, char b) { return std::tolower(a) == b; });
}

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Lines end with CR LF; a bare LF is taken, too (RFC 9112, 2.2).
std::string_view take_line(std::string_view& rest) {
  auto end = std::min(rest.find('\n'), rest.size());
  auto line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool has_end(std::string_view text) { return text.find("\r\n\r\n") != text.npos || text.find("\n\n") != text.npos; }

struct Head {
  std::string_view version;
  bool has_host = false;
};

bool parse_line(std::string_view line, Head* head, HttpRequest* out) {
  auto first = line.find(' '), last = line.rfind(' ');
  if (first == line.npos || first == last) return false;
  auto target = line.substr(first + 1, last - first - 1);
  head->version = line.substr(last + 1);
  if (!is_token(line.substr(0, first)) || target.empty() || !is_printable(target)) return false;
  out->method = line.substr(0, first);
  out->target = target;
  return head->version.starts_with("HTTP/");
}

bool parse_field(std::string_view line, Head* head, HttpRequest* out) {
  auto colon = line.find(':');
  if (colon == line.npos || !is_token(line.substr(0, colon))) return false;
  auto name = line.substr(0, colon), value = without_blanks(line.substr(colon + 1));
  if (same_name(name, "host")) head->has_host = true;
  if (same_name(name, "accept")) out->accept = value;
  if (same_name(name, "transfer-encoding") || (same_name(name, "content-length") && value != "0")) out->body = true;
  return true;
}

}  // namespace

bool http_complete(std::string_view text) { return text.size() >= kHttpMaxRequest || has_end(text); }

int http_parse(std::string_view text, HttpRequest* out) {
  *out = {};
  if (!has_end(text)) return 431;
  if (text.find('\0') != text.npos) return 400;
  Head head;
  if (!parse_line(take_line(text), &head, out)) return 400;
  for (auto line = take_line(text); !line.empty(); line = take_line(text))
    if (!parse_field(line, &head, out)) return 400;
  if (head.version != "HTTP/1.1" && head.version != "HTTP/1.0") return 505;
  return head.version == "HTTP/1.1" && !head.has_host ? 400 : 200;
}

std::string http_reply(int status, std::string_view type, std::string_view body, bool head, std::string_view header) {
  return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{}",
                     status, reason_of(status), type, body.size(), header, head ? std::string_view() : body);
}

std::string http_error(int status, std::string_view reason) {
  return http_reply(status, "text/plain; charset=utf-8",
                    fmt::format("{} {}\n", status, reason.empty() ? std::string_view(reason_of(status)) : reason),
                    false, status == 405 && reason.empty() ? "Allow: GET, HEAD\r\n" : "");
}

}  // namespace vz

// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/http.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "vzctl/metrics.h"

namespace vzctl {
namespace {

constexpr std::string_view kPath = "/metrics";

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Internal Server Error";
  }
}

struct Request {
  std::string_view method, target, version;
  bool has_host = false;
  bool good = false;
};

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool is_host(std::string_view name) {
  constexpr std::string_view kHost = "host";
  return name.size() == kHost.size() && std::equal(name.begin(), name.end(), kHost.begin(), [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == b;
         });
}

// Lines end with CR LF; a bare LF is taken, too (RFC 9112, 2.2).
std::string_view take_line(std::string_view& rest) {
  auto end = std::min(rest.find('\n'), rest.size());
  auto line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

Request parse_request(std::string_view text) {
  Request r;
  if (text.find('\0') != text.npos) return r;
  auto line = take_line(text);
  auto first = line.find(' '), last = line.rfind(' ');
  if (first == line.npos || first == last) return r;
  r.method = line.substr(0, first);
  r.target = line.substr(first + 1, last - first - 1);
  r.version = line.substr(last + 1);
  if (!is_token(r.method) || r.target.empty() || r.target.find(' ') != r.target.npos) return r;
  if (!r.version.starts_with("HTTP/")) return r;
  for (line = take_line(text); !line.empty(); line = take_line(text)) {
    auto colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) return r;
    if (is_host(line.substr(0, colon))) r.has_host = true;
  }
  r.good = true;
  return r;
}

int status_of(const Request& r) {
  if (!r.good) return 400;
  if (r.version != "HTTP/1.1" && r.version != "HTTP/1.0") return 505;
  if (r.version == "HTTP/1.1" && !r.has_host) return 400;
  if (r.method != "GET" && r.method != "HEAD") return 405;
  if (r.target.substr(0, r.target.find('?')) != kPath) return 404;
  return 200;
}

}  // namespace

std::string http_reply(int status, std::string_view type, std::string_view body, bool head) {
  return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{}",
                     status, reason(status), type, body.size(), status == 405 ? "Allow: GET, HEAD\r\n" : "",
                     head ? std::string_view() : body);
}

std::string http_error(int status) {
  return http_reply(status, "text/plain; charset=utf-8",
                    fmt::format("{} {}\n", status, status == 404 ? "the only page is /metrics" : reason(status)));
}

bool http_complete(std::string_view request) {
  return request.size() >= kMaxRequest || request.find("\r\n\r\n") != request.npos ||
         request.find("\n\n") != request.npos;
}

std::string http_answer(std::string_view request, const std::function<vz::Result<std::string>()>& page) {
  if (request.find("\r\n\r\n") == request.npos && request.find("\n\n") == request.npos) return http_error(431);
  const Request r = parse_request(request);
  if (int status = status_of(r); status != 200) return http_error(status);
  auto text = page();
  // Why it failed is for the journal of the host, not for whoever asks.
  if (!text) return http_error(500);
  return http_reply(200, kMetricsType, *text, r.method == "HEAD");
}

}  // namespace vzctl

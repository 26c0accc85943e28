// SPDX-License-Identifier: LGPL-2.1-or-later
// As much of HTTP/1.1 as a server of small pages needs: one request a connection, no bodies. For whoever serves one
// (vz-exporter, vzd): sockets and time are theirs. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <vz/error.h>

namespace vz {

inline constexpr std::size_t kHttpMaxRequest = 8192;  // bytes of request line and header

struct HttpRequest {
  std::string method, target;  // tokens and printable text, as they came: nothing is decoded
  std::string accept;          // "" without one
  bool body = false;           // one was announced
};

// Is the request complete (its empty line is there), or so long that waiting for more is no use?
VZ_API bool http_complete(std::string_view text);
// Takes what http_complete() accepted apart: 200, or the status that says what is wrong with it (400, 431, 505).
VZ_API int http_parse(std::string_view text, HttpRequest* out);

// A whole reply, ready to be sent. `header`: more lines of it, each with its line end.
VZ_API std::string http_reply(int status, std::string_view type, std::string_view body, bool head = false,
                              std::string_view header = {});
// "404 Not Found\n", or with a reason of your own, as text.
VZ_API std::string http_error(int status, std::string_view reason = {});

}  // namespace vz

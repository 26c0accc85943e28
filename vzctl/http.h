// SPDX-License-Identifier: GPL-2.0-or-later
// As much of HTTP/1.1 as a server of one page needs: one request a connection, no bodies.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <vz/error.h>

namespace vzctl {

inline constexpr size_t kMaxRequest = 8192;

// A whole reply, ready to be sent.
std::string http_reply(int status, std::string_view type, std::string_view body, bool head = false);
std::string http_error(int status);

// Is the request complete (its empty line is there), or so wrong or so long that waiting for more is no use?
bool http_complete(std::string_view request);
// The reply to what http_complete() accepted. `page` is asked for GET and HEAD of /metrics only.
std::string http_answer(std::string_view request, const std::function<vz::Result<std::string>()>& page);

}  // namespace vzctl

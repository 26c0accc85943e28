// SPDX-License-Identifier: GPL-2.0-or-later
// What vz-exporter answers: its one page.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <vz/http.h>

namespace vzctl {

// The reply to what vz::http_complete() accepted. `page` is asked for GET and HEAD of /metrics only.
std::string http_answer(std::string_view request, const std::function<vz::Result<std::string>()>& page);

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>

#include <vz/error.h>

namespace vzctl {

// A moment as people write it, in seconds since the epoch: a local date, @SECONDS, or how long ago (30d, 12h).
vz::Result<std::int64_t> parse_moment(const std::string& text, std::int64_t now);

}  // namespace vzctl

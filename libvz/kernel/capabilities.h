// SPDX-License-Identifier: LGPL-2.1-or-later
// The capabilities that exist inside a container: its bounding set. All of them count against the container's user
// namespace only; leaving one out makes programs see early that it would not work.
#pragma once

#include <cstdint>
#include <string_view>

#include <vz/error.h>

namespace vz {

// What a container has unless its configuration says otherwise.
std::uint64_t default_capabilities();

// Changes `base` by a list such as "NET_ADMIN:on,cap_sys_time:off" (--capability, CAPABILITY=): separated by commas or
// blanks, either case, with or without CAP_. OpenVZ's VE_ADMIN and SETVEID are accepted and change nothing.
// Code::bad_value names the entry that is wrong.
Result<std::uint64_t> apply_capability_changes(std::uint64_t base, std::string_view text);

// "NET_ADMIN" for CAP_NET_ADMIN, "" for a number that has no name.
std::string_view capability_name(unsigned number);

}  // namespace vz

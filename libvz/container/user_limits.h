// SPDX-License-Identifier: LGPL-2.1-or-later
// Disk limits of the users and groups in a container of the dir layout: of its ids on the host's file system. An image
// carries its own.
#pragma once

#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/kernel/idmap.h"

namespace vz {

// Of the file system of `dir`, as text with ids as inside: "user 1000 SOFT HARD SOFT HARD" (bytes, inodes) a line. "":
// there are none, or no quotas.
Result<std::string> read_user_limits(const std::string& dir, IdMap ids);
// Code::bad_value: not what read_user_limits() writes. Code::unsupported: that file system has no quotas.
Result<> check_user_limits(const std::string& dir, IdMap ids, std::string_view text);
// Those and no others: what an earlier owner of these ids left goes.
Result<> write_user_limits(const std::string& dir, IdMap ids, std::string_view text);

}  // namespace vz

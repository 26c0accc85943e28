// SPDX-License-Identifier: LGPL-2.1-or-later
// CRIU writes its first instructions over the lowest executable mapping of a process. When that is a shared one, as of
// PHP's opcache, nobody but the program may write there, and the process cannot be dumped.
#pragma once

#include <string_view>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>

namespace vz {

// Of the text of /proc/PID/maps: CRIU (up to 4.2) would fail.
bool lacks_parasite_room(std::string_view maps);

// Gives each of these processes that lacks one an executable page of its own, below everything else, which stays. Works
// in a child that outlives the caller. What fails for a process is left to CRIU to tell.
Result<> make_parasite_room(const std::vector<pid_t>& processes);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// The last kilobytes of a console, in a bounded file on tmpfs, and the draining of a pty into it.
#pragma once

#include <cstddef>
#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

inline constexpr std::size_t kConsoleLogMax = 64u << 10;

// Appends; when the file would exceed `max` bytes its older part goes first, a quarter of it at a time, in place.
Result<> append_bounded(const std::string& path, std::string_view data, std::size_t max = kConsoleLogMax);

// Makes a master ready for draining: non-blocking, and the slave's end held open, because a pty whose last slave was
// closed reports a hangup without end (systemd opens and closes /dev/console for each message).
Result<UniqueFd> hold_slave(const UniqueFd& master);

// Reads what is there, `max` bytes at most, into the log. Returns the bytes read; 0 when there is nothing.
// A log that cannot be written loses the text: a container must never wait for our disk.
std::size_t drain_console(const UniqueFd& master, const std::string& log, std::size_t max);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// The stream socket through which a container's root speaks with vzd, and bytes of such peers, who may be hostile:
// nothing here ever waits.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/box.h"

namespace vz {

// Listens on DIR/`name`, replaced in one rename; only `uid` may connect to it, as far as the file's mode is concerned.
// DIR may be longer than a socket's address.
Result<UniqueFd> listen_in(const std::string& dir, const std::string& name, uid_t uid);

// What is there, at most 4 KiB of it; "" when the other side has closed, nullopt when there is nothing yet.
Result<std::optional<std::string>> receive_some(int fd);
// How many of the bytes were taken; 0 when there is no room now.
Result<std::size_t> send_some(int sock, std::string_view data);
void end_sending(int sock);

// Reading from it does not wait.
Result<Pipe> open_pipe();

// From now on this process comes after others that want CPU time or the disk.
void work_in_background();

}  // namespace vz

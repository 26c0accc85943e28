// SPDX-License-Identifier: LGPL-2.1-or-later
// The stream socket through which a container's root speaks with vzd, and bytes of such peers, who may be hostile:
// nothing here ever waits.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Listens on DIR/`name`, replaced in one rename; only `uid` may connect to it, as far as the file's mode is concerned.
// DIR may be longer than a socket's address.
Result<UniqueFd> listen_in(const std::string& dir, const std::string& name, uid_t uid);

struct Peer {
  UniqueFd sock;
  uid_t uid = 0;  // of whoever called connect(2), as seen here
};
// nullopt: nobody waits.
Result<std::optional<Peer>> accept_peer(const UniqueFd& listener);

// What is there, at most 4 KiB of it; "" when the other side has closed, nullopt when there is nothing yet.
Result<std::optional<std::string>> receive_some(int fd);
// How many of the bytes were taken; 0 when there is no room now.
Result<std::size_t> send_some(int sock, std::string_view data);
void end_sending(int sock);

// Read end, write end; reading does not wait.
Result<std::pair<UniqueFd, UniqueFd>> open_pipe();

// From now on this process comes after others that want CPU time or the disk.
void work_in_background();

// "MAJ:MIN" of the file system that it is on, as mountinfo has it; "" when there is no such file.
std::string device_of(const std::string& path);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// The way to the other host of a migration.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <vz/error.h>
#include "libvz/kernel/frame_channel.h"
#include "libvz/kernel/peer_process.h"

namespace vz {

// The command that reaches the other host, and what is said through it.
class MigrationConnection {
 public:
  // An agent of the same version has answered. Code::connect with what to do when none has.
  static Result<MigrationConnection> open(const std::vector<std::string>& transport, const std::string& destination);

 private:
  MigrationConnection(PeerProcess p, FrameChannel c) : process(std::move(p)), channel(std::move(c)) {}
  PeerProcess process;  // before the channel: it is told to end by the channel's closing

 public:
  FrameChannel channel;
};

}  // namespace vz

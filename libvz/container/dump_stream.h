// SPDX-License-Identifier: LGPL-2.1-or-later
// A dump as frames: one file after the other. What it is worth is the manifest's to say, which is among them and has
// the size and the hash of each.
#pragma once

#include <cstdint>
#include <string>

#include <vz/error.h>
#include "libvz/kernel/frame_channel.h"

namespace vz {

// Where a dump grows until the container that it belongs to is here.
std::string incoming_dump_path(const std::string& dump_path);

// Sends `path`, then kEnd. Returns bytes.
Result<std::uint64_t> send_dump(FrameChannel& channel, const std::string& path);
// Makes `path`, which must not exist; `durable`: everything is on disk afterwards. Names that no dump has are refused.
Result<std::uint64_t> receive_dump(FrameChannel& channel, const std::string& path, bool durable);

}  // namespace vz

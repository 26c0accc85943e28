// SPDX-License-Identifier: LGPL-2.1-or-later
// The files of a dir layout as one tar stream in frames. tar runs boxed on both sides: names, links and types in the
// tree are the container's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <vz/error.h>
#include "libvz/kernel/frame_channel.h"
#include "libvz/kernel/idmap.h"

namespace vz {

// Sends everything below `dir` with the ids that it has inside, then kEnd. Returns the bytes of the archive.
Result<std::uint64_t> send_archive(FrameChannel& channel, const std::string& dir, IdMap idmap,
                                   const std::function<bool(std::uint64_t)>& progress);
// Unpacks what comes into `dir`, which is empty and belongs to the container's root, and writes it to disk.
Result<std::uint64_t> receive_archive(FrameChannel& channel, const std::string& dir, IdMap idmap);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// A loop device on `image_fd`, with direct I/O where the file system can, LO_FLAGS_AUTOCLEAR: it detaches itself with
// its last user.
struct LoopDevice {
  UniqueFd fd;
  std::string path;  // /dev/loopN
};
Result<LoopDevice> attach_loop(int image_fd, bool read_only);
Result<> loop_set_capacity(const std::string& path);  // after the backing file grew
// The loop device whose backing file is this inode; "" when none. Slower with `read_only_too`: those that cannot write.
Result<std::string> find_loop(const std::string& image_path, bool read_only_too = false);
// Writes and discards that this device has done since it was made. Code::unsupported while some are under way, and
// where nobody counts them (/sys/block/*/queue/iostats).
Result<std::uint64_t> finished_writes(const std::string& device);
// Sectors of 512 bytes that were written or discarded since it was made. Code::unsupported where nobody counts them.
Result<std::uint64_t> written_sectors(const std::string& device);
// Is it `image_path` that this device is on at the moment?
bool loop_serves(const std::string& device, const std::string& image_path);

}  // namespace vz

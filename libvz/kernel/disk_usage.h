// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <sys/types.h>

namespace vz {

struct DiskUsage {
  std::uint64_t bytes_used = 0, bytes_total = 0;
  std::uint64_t inodes_used = 0, inodes_total = 0;
};

// The file system at the root of a running process. A container decides what its root is, and a FUSE server of its own
// would let us wait forever: nullopt unless the root is on a block device or on the file system of `trusted_path`.
std::optional<DiskUsage> root_usage(pid_t pid, const std::string& trusted_path);

}  // namespace vz

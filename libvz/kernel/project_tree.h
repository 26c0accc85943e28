// SPDX-License-Identifier: LGPL-2.1-or-later
// One project id for every inode of a tree that nobody else changes meanwhile. Its content is hostile: names, depth,
// links, types.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include <vz/error.h>

namespace vz {

struct ProjectPass {
  int tree = -1;     // the directory, on a mount with nodev; every directory and file below it is on its file system
  int scratch = -1;  // an empty directory on the same mount, outside of the tree
  std::uint32_t project = 0;
  unsigned threads = 1;
};

// Called about ten times a second with the number of inodes seen; false ends the pass early.
using PassProgress = std::function<bool(std::uint64_t inodes)>;

// Symbolic links, FIFOs, sockets and devices, to which no id can be given, are replaced by new ones. The tree's own
// directory loses the id that it has first, and gets the new one last: one that has it is complete. Returns the number
// of inodes; Code::quota_set.
Result<std::uint64_t> assign_project(const ProjectPass& pass, const PassProgress& progress);

}  // namespace vz

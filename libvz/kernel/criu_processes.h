// SPDX-License-Identifier: LGPL-2.1-or-later
// The processes in CRIU's images (pstree.img, mm-PID.img, core-TID.img), as far as it matters for their memory.
#pragma once

#include <cstdint>
#include <vector>

#include <vz/error.h>
#include "libvz/kernel/page_tracker.h"

namespace vz {

struct CriuProcess {
  std::uint32_t pid = 0, parent = 0;  // as in the container; 0: none
  // Private anonymous mappings of which nobody was promised anything: not locked, no stack that grows, nothing that a
  // child does not get. Ascending.
  std::vector<PageRange> plain;
  // Pages that the kernel writes by itself as soon as a thread runs: its area of rseq(2).
  std::vector<PageRange> kernel_written;
};

// Those that have not ended. Code::restore: the images are not as vz knows them.
Result<std::vector<CriuProcess>> read_processes(int images);

}  // namespace vz

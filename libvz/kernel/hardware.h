// SPDX-License-Identifier: LGPL-2.1-or-later
// The host's memory, processors and disks, as far as limits depend on them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <vz/error.h>

namespace vz {

struct HostMemory {
  std::uint64_t ram = 0;   // bytes
  std::uint64_t swap = 0;  // bytes, all swap devices
  std::uint64_t available = 0, swap_free = 0;
};
Result<HostMemory> host_memory(const std::string& root = "");

// Whether the multi-gen LRU reclaims memory here (Documentation/admin-guide/mm/multigen_lru.rst of the kernel).
bool multi_gen_lru(const std::string& root = "");

// Most processes and threads of the host at the same time; 0: unknown.
std::uint64_t host_pid_limit(const std::string& root = "");

struct HostProcessors {
  std::string cpus = "0";                               // online, "0-3"
  std::string nodes = "0";                              // with memory
  std::vector<std::pair<unsigned, std::string>> local;  // node, its CPUs
};
HostProcessors host_processors(const std::string& root = "");

// Instruction sets of the processors that programs look for and use, by the kernel's names ("avx2", "sha_ni"). Of x86;
// empty on others.
std::vector<std::string> instruction_sets(const std::string& root = "");

// The disk below the file system that holds `path` or, when that does not exist yet, its nearest ancestor.
struct Disk {
  std::string device;    // "MAJ:MIN" of the whole disk, "" when there is none (network, overlay, btrfs)
  bool bfq = false;      // the I/O scheduler that obeys bfq weights is on
  bool io_cost = false;  // io.cost, which obeys io.weight, is on
};
Disk disk_of(const std::string& path);

}  // namespace vz

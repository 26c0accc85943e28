// SPDX-License-Identifier: LGPL-2.1-or-later
// From settings to cgroup writes: a pure function, the heart of RAM+swap.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <vz/config.h>
#include <vz/error.h>
#include "libvz/kernel/cgroup.h"

namespace vz {

// What the decision depends on besides the configuration.
struct LimitFacts {
  const CgroupHost* cgroups = nullptr;
  std::uint64_t host_ram = 0;   // bytes
  std::uint64_t host_swap = 0;  // bytes
  unsigned host_cpus = 1;
  std::string host_cpu_list;   // "0-1", for `--cpumask all`
  std::string host_node_list;  // "0"
  std::string io_device;       // "MAJ:MIN" of the disk that holds the private area, "" if unknown
  // File that takes an I/O weight: "io.weight", "io.bfq.weight" (v2), "blkio.bfq.weight" (v1), "" if none.
  std::string io_weight_file;
  bool io_weight_active = false;                            // the disk's scheduler obeys it
  std::vector<std::pair<unsigned, std::string>> node_cpus;  // for `--cpumask auto`
  bool private_memory = false;                              // the BPF program that bounds it is loaded
  bool multi_gen_lru = false;                               // how this kernel reclaims: memory.low is a hint only
};
Result<LimitFacts> read_limit_facts(const CgroupHost& cgroups, const std::string& private_path);

struct LimitPlan {
  std::vector<CgroupWrite> writes;
  std::vector<std::string> warnings;   // "--swap 256M: this host has no swap device; pages over RAM will be …"
  std::vector<Error> not_enforceable;  // limits that this host cannot enforce; start refuses unless forced
};

// All writes for a fresh cgroup.
Result<LimitPlan> plan_limits(const Config& config, const LimitFacts& facts);
// Writes that lead from `from` to `to` on a running container: raises first, cuts last (memory before memsw on v1
// when cutting, the other way round when raising). `current_ram`, `current_swap` in bytes: a cut below what
// reclaim can reach fails in apply(), not here.
Result<LimitPlan> plan_limit_change(const Config& from, const Config& to, const LimitFacts& facts);

}  // namespace vz

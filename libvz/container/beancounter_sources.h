// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a beancounter's numbers come from: control group files, BPF maps, and where no program counts, what can be
// found out by looking at the container's processes and sockets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include <sys/types.h>

#include <vz/beancounters.h>
#include <vz/container.h>
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/process.h"

namespace vz {

// The readings of sample_cgroups() that these numbers need. Rows that a program counts need none.
Readings ub_readings(const UbParts& wanted);
// What kernel code read of the container's group is all that its files would say.
bool has_all(const vz_ub_group& group);
void fill_sample(const vz_ub_group& group, Sample& out);
void fill_sample(const vz_state& counted, Sample& out);
// Numbers of a sample; in pages where the row is.
void fill_from_sample(const Sample& sample, UbSnapshot& out);
// Rows that programs count.
void fill_from_map(const vz_ub& counted, const UbAbilities& abilities, UbSnapshot& out);

// What is the same for all containers of one reading, looked up when it is first needed.
class ProcessFacts {
 public:
  std::uint64_t locks_of(pid_t pid);

 private:
  std::optional<std::map<pid_t, std::uint64_t>> locks_;
};

// Is any number wanted that no program counts and no control group knows?
bool needs_processes(const UbParts& wanted, const UbAbilities& abilities);
// Those; `held` only. What cannot be read stays empty. `init` is alive.
void fill_from_processes(const CgroupHost& host, const ProcessId& init, const UbParts& wanted,
                         const UbAbilities& abilities, ProcessFacts& facts, UbSnapshot& out);

}  // namespace vz

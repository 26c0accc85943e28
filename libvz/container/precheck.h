// SPDX-License-Identifier: LGPL-2.1-or-later
// The judgement on what task_facts and mount_table read: pure, for tests.
#pragma once

#include <set>
#include <vector>

#include <vz/precheck.h>
#include "libvz/kernel/mount_table.h"
#include "libvz/kernel/task_facts.h"

namespace vz {

struct PrecheckFacts {
  std::vector<TaskFacts> tasks;                            // init first
  std::vector<MountEntry> mounts;                          // of init
  std::set<std::uint64_t> mount_ids;                       // of all of the container's mount namespaces
  std::set<std::string> external;                          // mount points that are given to the container again
  std::vector<std::pair<TaskFacts, std::string>> sockets;  // mounted, where, and a process that sees it
  std::vector<std::string> protocols, message_queues;
};
std::vector<Obstacle> judge(const PrecheckFacts& facts);

// Those that a checkpoint must not pass over, as one error.
Result<> refuse_obstacles(const std::vector<Obstacle>& obstacles);
std::string describe(const Obstacle& obstacle);  // one line

}  // namespace vz

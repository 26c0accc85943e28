// SPDX-License-Identifier: LGPL-2.1-or-later
// The last steps of every process of a container before its execve: what it may do from then on.
#pragma once

#include "libvz/kernel/process.h"

namespace vz {

struct SandboxPlan {
  std::uint64_t capabilities = 0;
  SeccompProgram seccomp;  // empty: none
  bool has_listener = false;
};

Result<SandboxPlan> plan_sandbox(const Sandbox& sandbox);

// In the child, as root of its user namespace; no allocation. 0 or -1 with errno.
// uid, gid 0, no supplementary groups, no inherited session keyring.
int become_root();
// Default signal dispositions, none blocked.
void reset_signals();
// Drops what is outside the bounding set, then loads the filter: call last. `listener` is set if the filter has one: to
// be sent to the parent and closed.
int enter_sandbox(const SandboxPlan& plan, int* listener);

}  // namespace vz

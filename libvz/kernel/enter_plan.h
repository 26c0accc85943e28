// SPDX-License-Identifier: LGPL-2.1-or-later
// What happens between the clones and the execve of a command inside, as plain data made before.
#pragma once

#include <optional>
#include <vector>

#include <sys/ioctl.h>
#include <termios.h>

#include "libvz/base/fd.h"
#include "libvz/kernel/exec_plan.h"
#include "libvz/kernel/sandbox.h"

namespace vz {

struct EnterPlan {
  int init_pidfd = -1;
  int stdio[3] = {0, 1, 2};
  bool pty = false;
  std::optional<termios> mode;  // of the new pty, before the command can look at it
  std::optional<winsize> size;
  std::vector<UniqueFd> v1_procs;
  ExecPlan exec;
  SandboxPlan sandbox;
  UniqueFd channel, parent_channel;
};

// The texts are in enter.cc, in this order.
enum class EnterStep : int {
  join_cgroup,
  enter_namespaces,
  fork,
  report,
  become_root,
  session,
  pty,
  stdio,
  sandbox,
  execute,
  count_
};

// In the `step` of a ChildMessage::descriptor.
enum class EnterDescriptor : int { process, pty, listener };

// The first child, still in the host's pid namespace: joins cgroups and namespaces, leaves a sibling inside that
// executes the command, and ends.
[[noreturn]] void run_enter_child(const EnterPlan& plan);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Everything that a container's init does between clone3 and execve, as plain data made before the clone.
#pragma once

#include <string>
#include <vector>

#include "libvz/base/fd.h"
#include "libvz/kernel/exec_plan.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/sandbox.h"

namespace vz {

struct NodePlan {
  std::string target;  // below /dev: "net/tun"
  std::string source;  // in the device file system: "net!tun"
};

struct BindPlan {
  UniqueFd mount;      // detached
  std::string target;  // relative to the container's root
};

struct InitPlan {
  UniqueFd root;          // detached mount
  UniqueFd device_tmpfs;  // detached, holds the nodes of `nodes`
  std::vector<NodePlan> nodes;
  std::vector<BindPlan> binds;
  UniqueFd proc_mount;  // detached; its files cover those of /proc
  std::vector<ProcFiles::File> proc_files;
  UniqueFd owner_dir;  // detached, for /dev/vz
  std::vector<UniqueFd> v1_procs;
  std::string hostname;
  ExecPlan exec;
  SandboxPlan sandbox;
  bool cgroup2 = true;
  bool masks = true;
  UniqueFd channel, parent_channel;
};

// What init was doing; the texts are in init.cc, in this order.
enum class InitStep : int {
  join_cgroup,
  wait,
  become_root,
  late_namespaces,
  session,
  private_mounts,
  new_file_system,
  attach_root,
  find_target,
  attach,
  make_file,
  bind,
  pivot,
  hostname,
  console,
  report,
  sandbox,
  execute,
  count_
};

// In the `step` of a ChildMessage::descriptor.
enum class InitDescriptor : int { console, listener };

// The child. Only system calls on the plan's memory; reports through plan.channel.
[[noreturn]] void run_init_child(const InitPlan& plan);

// Where init is and what it works on, for its report.
class InitReport {
 public:
  explicit InitReport(int channel) : channel_(channel) {}
  // Reports errno and ends the process.
  [[noreturn]] void fail(InitStep step, const char* object = "") const;
  // Ends the process with the report if `result` is negative; else passes it on.
  int check(int result, InitStep step, const char* object = "") const {
    if (result < 0) fail(step, object);
    return result;
  }
  void send(int kind, int step, int fd) const;

 private:
  int channel_;
};

// Builds the container's mount tree on plan.root and makes it "/". Returns the master of the console.
int build_mount_tree(const InitPlan& plan, const InitReport& report);

}  // namespace vz

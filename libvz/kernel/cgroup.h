// SPDX-License-Identifier: LGPL-2.1-or-later
// Control groups of a container, wherever this host keeps its controllers (v2, v1, or some of each).
//
// Layout, the same relative path in every hierarchy, P = vz.slice/vz-<ID>.scope:
//   P        made by systemd (transient scope, Delegate=yes) where systemd runs, else by us
//   P/ct     carries every limit; owned by the host's root, invisible inside; v1: all processes live here
//   P/ct/ns  v2 only: root of the container's cgroup namespace, delegated to its mapped root
//   P/ct/ns/.vz  v2 only: processes of vzctl exec and enter (inner nodes must stay empty under systemd)
// Limits sit one level below what systemd manages, so that `systemctl daemon-reload` never rewrites them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

enum class Controller { memory, cpu, cpuacct, cpuset, io, pids, freezer, perf_event };
const char* controller_name(Controller c);

// Where one controller is mounted.
struct ControllerMount {
  Controller controller;
  bool v2 = false;
  std::string path;  // mount point
};

// The host's hierarchies, read once from /proc/self/mountinfo, /proc/cgroups and cgroup.controllers.
struct CgroupHost {
  std::vector<ControllerMount> controllers;
  std::string unified;           // mount point of cgroup2 ("" if none); may have no controllers (hybrid)
  std::string systemd_v1;        // mount point of v1 name=systemd, where a hybrid systemd keeps its units
  bool systemd_manages = false;  // systemd is PID 1 (/run/systemd/system)
  bool swap_accounting = false;  // v1: memory.memsw.*; v2: memory.swap.max
  std::string io_weight_file;    // "io.weight", "io.bfq.weight", v1 "blkio.bfq.weight"; "" if the kernel has none
  const ControllerMount* find(Controller c) const;
  // `root` is prefixed to /proc and /sys paths so that tests can pass a fixture tree; "" on a real host.
  static Result<CgroupHost> probe(const std::string& root = "");
};

// One planned write, made by plan_limits() and carried out in order.
struct CgroupWrite {
  Controller controller;
  std::string file;  // "memory.max" or "memory.limit_in_bytes"
  std::string value;
  bool optional = false;  // a failure is reported as a warning only
  bool operator==(const CgroupWrite&) const = default;
};

// The cgroups of one container. Directories are held by fd: a removed and re-made group is never confused.
class Cgroups {
 public:
  // Creates all directories; `owner` gets the delegated v2 files. On a systemd host asks systemd for the scope and
  // puts `scope_pid` (a waiting process of ours) into it. Leftovers of the same id that are empty are reused.
  static Result<Cgroups> create(const CgroupHost& host, Ctid id, uid_t owner_uid, gid_t owner_gid, pid_t scope_pid);
  // Opens existing ones; Code::not_running when there are none.
  static Result<Cgroups> open(const CgroupHost& host, Ctid id);
  // Removes leftovers: kills what is inside (cgroup.kill, or SIGKILL by v1 procs), then rmdir bottom-up. Missing is
  // fine.
  static Result<> remove(const CgroupHost& host, Ctid id);
  static bool present(const CgroupHost& host, Ctid id);

  // For clone3(CLONE_INTO_CGROUP): P/ct/ns (init) or P/ct/ns/.vz (exec); -1 without cgroup2.
  int init_fd() const { return ns_.get(); }
  Result<UniqueFd> exec_fd() const;
  // v1: open "tasks" files, the child (one thread) writes "0" to each before it drops privileges.
  Result<std::vector<UniqueFd>> v1_procs() const;

  Result<> apply(const std::vector<CgroupWrite>& writes, std::vector<std::string>* warnings) const;
  Result<std::string> read(Controller c, const std::string& file) const;  // of P/ct
  Result<std::vector<pid_t>> pids() const;                                // all processes, recursively
  Result<> kill() const;                                                  // SIGKILL to all, also against fork bombs
  Result<> freeze(bool on) const;
  std::string freeze_path() const;  // the group that it writes to; "" when there is none
  // cgroup v2's freezer: what it holds can be killed, and a task that a tracer has stopped counts as frozen.
  bool frozen_can_die() const { return static_cast<bool>(unified_ct_); }
  bool populated() const;
  int ct_fd(Controller c) const;  // directory fd of P/ct in that controller's hierarchy, -1 if none
  int unified_ct_fd() const { return unified_ct_.get(); }  // for BPF attach, -1 without cgroup2
  // By which kernel code knows the container: the cgroup v2 id of P/ct. Code::unsupported without cgroup2.
  Result<std::uint64_t> unified_id() const;
  std::string ct_path(Controller c) const;  // for messages

 private:
  struct Dir {
    Controller controller;
    bool v2;
    UniqueFd fd;
    std::string path;
  };
  std::vector<Dir> dirs_;
  UniqueFd unified_ct_;
  UniqueFd ns_;
  UniqueFd systemd_v1_;  // P in name=systemd of a hybrid systemd host
  std::string unified_path_;
};

}  // namespace vz

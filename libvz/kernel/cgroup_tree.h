// SPDX-License-Identifier: LGPL-2.1-or-later
// Control groups as directories: what the cgroup*.cc files share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/cgroup.h"

namespace vz {

inline constexpr const char* kSlice = "vz.slice";
std::string scope_name(Ctid id);  // "vz-101.scope"
std::string scope_path(Ctid id);  // "vz.slice/vz-101.scope"
// Of /proc/PID/cgroup of a process of the container, the hierarchies in which it has groups of its own, by the names
// they have there: "pids", "cpu,cpuacct", "name=systemd", "" of cgroup2. In others it is where its vzctl was.
std::vector<std::string> own_hierarchies(std::string_view proc_cgroup, Ctid id);

// One mounted hierarchy that holds a container's groups; v1 controllers may share one.
struct Hierarchy {
  std::string path;  // mount point
  bool v2 = false;
  bool cpuset_v1 = false;  // tasks cannot enter before cpus and mems are set
};
std::vector<Hierarchy> hierarchies(const CgroupHost& host);  // each once; cgroup2 even without controllers

Result<UniqueFd> open_group(int dirfd, const std::string& path);  // O_DIRECTORY, never through a symlink
bool has_entry(int dirfd, const std::string& path);
// Has live processes in it or below. cgroup2: cgroup.events; v1: cgroup.procs of the whole tree.
bool group_populated(int fd, bool v2);
// Appends the processes of the group and everything below it.
Result<> append_pids(int fd, std::vector<pid_t>& out);
// rmdir of the group and everything below, which must be free of processes; missing is fine.
Result<> remove_group(int dirfd, const std::string& name);

}  // namespace vz

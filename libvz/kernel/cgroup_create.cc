// SPDX-License-Identifier: LGPL-2.1-or-later
// Making a container's groups. The cost does not depend on how many other containers there are.
#include "libvz/kernel/cgroup.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvz/base/text.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hardware.h"
#include "libvz/kernel/systemd.h"

namespace vz {

namespace {

// Bounds what a container can build below its own group: each group costs unswappable kernel memory and is walked
// when the container is removed.
constexpr const char* kMaxDescendants = "10000";
constexpr const char* kMaxDepth = "64";

// A new v1 cpuset is empty and takes no task until it has CPUs and memory nodes.
Result<> inherit_cpuset(int parent, int child) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    if (!trim(VZ_TRY(read_file_at(child, file))).empty()) continue;
    VZ_TRY(write_kernel_file_at(child, file, trim(VZ_TRY(read_file_at(parent, file)))));
  }
  return {};
}

// Old v1 kernels do not charge parents unless told so; newer ones always do.
void use_hierarchy(int fd) {
  auto text = read_file_at(fd, "memory.use_hierarchy");
  if (text && trim(*text) == "0") (void)write_kernel_file_at(fd, "memory.use_hierarchy", "1");
}

Result<UniqueFd> make_group(const Hierarchy& h, int parent, const std::string& name) {
  if (::mkdirat(parent, name.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno("make cgroup " + name);
  UniqueFd fd = VZ_TRY(open_group(parent, name));
  if (h.cpuset_v1) VZ_TRY_CTX(inherit_cpuset(parent, fd.get()), "cpuset " + name);
  if (!h.v2) use_hierarchy(fd.get());
  return fd;
}

// Groups of an earlier run: values that it set must not survive into this one, so they are made anew.
Result<> clear_leftover(const Hierarchy& h, int scope, Ctid id) {
  auto old = open_group(scope, "ct");
  if (!old) return {};
  if (group_populated(old->get(), h.v2))
    return fail(Error(Code::running, "control group " + h.path + "/" + scope_path(id) + "/ct has processes")
                    .with_hint("`vzctl stop " + id.str() + " --fast` kills them"));
  return remove_group(scope, "ct");
}

std::vector<std::string> words_at(int fd, const char* file) {
  auto text = read_file_at(fd, file);
  return text ? split_blank(*text) : std::vector<std::string>();
}

// Hands controllers on to the children of `fd`. One that the kernel refuses (cpu while realtime processes run) is left
// out: its files are missing below, and whoever needs them says so.
void enable_controllers(int fd, const std::vector<std::string>& wanted) {
  auto available = words_at(fd, "cgroup.controllers");
  auto enabled = words_at(fd, "cgroup.subtree_control");
  std::vector<std::string> missing;
  for (const auto& name : wanted) {
    bool can = std::find(available.begin(), available.end(), name) != available.end();
    bool has = std::find(enabled.begin(), enabled.end(), name) != enabled.end();
    if (can && !has) missing.push_back("+" + name);
  }
  if (missing.empty() || write_kernel_file_at(fd, "cgroup.subtree_control", join(missing, " "))) return;
  for (const auto& one : missing) (void)write_kernel_file_at(fd, "cgroup.subtree_control", one);
}

std::vector<std::string> wanted_controllers(const CgroupHost& host) {
  std::vector<std::string> out;
  for (const auto& mount : host.controllers)
    // Not controllers to be enabled: freezer and cpuacct are part of cgroup2, perf_event is always on.
    if (mount.v2 && mount.controller != Controller::freezer && mount.controller != Controller::cpuacct &&
        mount.controller != Controller::perf_event)
      out.emplace_back(controller_name(mount.controller));
  return out;
}

// The files that the kernel says may be given away (cgroups(7), "Cgroups delegation"), and the directory.
Result<> delegate(int fd, uid_t uid, gid_t gid) {
  std::vector<std::string> files = {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"};
  if (auto text = read_file("/sys/kernel/cgroup/delegate")) files = split_blank(*text);
  for (const auto& file : files) {
    if (file.find('/') != std::string::npos) continue;
    if (::fchownat(fd, file.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT)
      return fail_errno("give " + file + " to " + std::to_string(uid));
  }
  if (::fchown(fd, uid, gid) != 0) return fail_errno("give cgroup to " + std::to_string(uid));
  return {};
}

// memory.low and memory.min of a container count only as far as the groups above it have some to hand down. All
// containers together are spared half of the host's RAM, so that the host's own processes are not the first to lose
// theirs. No more than a quarter is taboo: what is, cannot be swapped out however short the host is.
// Where systemd runs, these are properties of vz.slice; the unit that is installed has MemoryLow=.
void hand_down_protection(const CgroupHost& host, int slice) {
  auto memory = host_memory();
  if (!memory) return;
  auto hand_down = [&](const char* file, const char* property, std::uint64_t bytes) {
    auto now = read_file_at(slice, file);
    if (!now || trim(*now) != "0") return;
    if (host.systemd_manages) (void)set_unit_bytes(kSlice, property, bytes);
    (void)write_kernel_file_at(slice, file, std::to_string(bytes));
  };
  hand_down("memory.low", "MemoryLow", memory->ram / 2);
  if (multi_gen_lru()) hand_down("memory.min", "MemoryMin", memory->ram / 4);
}

// P, P/ct and P/ct/ns of cgroup2. Inner groups must be empty before their controllers can be handed on, so the
// process that systemd put into P goes down to ns first.
Result<> fill_unified(const CgroupHost& host, int root, int slice, int scope, int ct, pid_t pid, uid_t uid, gid_t gid) {
  if (::mkdirat(ct, "ns", 0755) != 0 && errno != EEXIST) return fail_errno("make cgroup ns");
  UniqueFd ns = VZ_TRY(open_group(ct, "ns"));
  if (pid > 0) VZ_TRY_CTX(write_kernel_file_at(ns.get(), "cgroup.procs", std::to_string(pid)), "enter ns");
  auto wanted = wanted_controllers(host);
  if (!wanted.empty()) {
    // Above the scope everything is systemd's where it runs; Delegate=yes made it hand down all that it has.
    if (!host.systemd_manages) {
      enable_controllers(root, wanted);
      enable_controllers(slice, wanted);
    }
    hand_down_protection(host, slice);
    enable_controllers(scope, wanted);
    enable_controllers(ct, wanted);
  }
  (void)write_kernel_file_at(ct, "cgroup.max.descendants", kMaxDescendants);
  (void)write_kernel_file_at(ct, "cgroup.max.depth", kMaxDepth);
  return delegate(ns.get(), uid, gid);
}

Result<> make_in(const CgroupHost& host, const Hierarchy& h, Ctid id, pid_t pid, uid_t uid, gid_t gid) {
  UniqueFd root = VZ_TRY(open_group(AT_FDCWD, h.path));
  UniqueFd slice = VZ_TRY(make_group(h, root.get(), kSlice));
  UniqueFd scope = VZ_TRY(make_group(h, slice.get(), scope_name(id)));
  VZ_TRY(clear_leftover(h, scope.get(), id));
  UniqueFd ct = VZ_TRY(make_group(h, scope.get(), "ct"));
  if (h.path != host.unified) return {};
  return fill_unified(host, root.get(), slice.get(), scope.get(), ct.get(), pid, uid, gid);
}

// A scope of this name may still be on its way out, or was left by a container that died while vzctl was away.
Result<> make_scope(const CgroupHost& host, Ctid id, pid_t pid) {
  if (pid <= 0) return fail(Code::system, "systemd needs a process to make " + scope_name(id));
  auto left = Cgroups::open(host, id);
  if (left && left->populated())
    return fail(Error(Code::running, scope_name(id) + " has processes")
                    .with_hint("`vzctl stop " + id.str() + " --fast` kills them"));
  return start_scope({scope_name(id), kSlice, "vz container " + id.str(), pid});
}

}  // namespace

Result<Cgroups> Cgroups::create(const CgroupHost& host, Ctid id, uid_t owner_uid, gid_t owner_gid, pid_t scope_pid) {
  if (host.systemd_manages) VZ_TRY(make_scope(host, id, scope_pid));
  for (const auto& h : hierarchies(host)) {
    auto made = make_in(host, h, id, scope_pid, owner_uid, owner_gid);
    if (made) continue;
    bool ours = made.error().code() != Code::running;
    if (ours) (void)remove(host, id);
    return fail(std::move(made).error().context("control groups of container " + id.str() + " in " + h.path));
  }
  return open(host, id);
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/cgroup.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvz/base/text.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr int kFreezeTimeoutMs = 10000;

// cgroup.events signals every change with POLLPRI.
Result<> wait_frozen(int group, bool on) {
  UniqueFd events = VZ_TRY(open_at(group, "cgroup.events", O_RDONLY));
  const std::string wanted = on ? "frozen 1" : "frozen 0";
  for (int waited = 0; waited < kFreezeTimeoutMs; waited += 100) {
    if (VZ_TRY(read_file_at(group, "cgroup.events")).find(wanted) != std::string::npos) return {};
    pollfd p{events.get(), POLLPRI, 0};
    (void)::poll(&p, 1, 100);
    char drop[256];
    (void)::pread(events.get(), drop, sizeof drop, 0);  // re-arms POLLPRI
  }
  return fail(Error::from_errno(ETIMEDOUT, on ? "freeze" : "thaw"));
}

Result<> wait_frozen_v1(int group, bool on) {
  const std::string wanted = on ? "FROZEN" : "THAWED";
  for (int waited = 0; waited < kFreezeTimeoutMs; waited += 5) {
    if (trim(VZ_TRY(read_file_at(group, "freezer.state"))) == wanted) return {};
    (void)::poll(nullptr, 0, 5);  // v1 has no event for it
    // FREEZING restarts when a new task appears; writing again makes the kernel try again.
    VZ_TRY(write_kernel_file_at(group, "freezer.state", wanted));
  }
  return fail(Error::from_errno(ETIMEDOUT, on ? "freeze" : "thaw"));
}

// A usable group for our processes: ours, and not turned threaded or invalid by the container.
bool usable_leaf(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0 || st.st_uid != ::geteuid()) return false;
  auto type = read_file_at(fd, "cgroup.type");
  return !type || trim(*type) == "domain";
}

}  // namespace

Result<Cgroups> Cgroups::open(const CgroupHost& host, Ctid id) {
  const std::string ct = "/" + scope_path(id) + "/ct";
  Cgroups out;
  for (const auto& mount : host.controllers) {
    auto fd = open_group(AT_FDCWD, mount.path + ct);
    if (fd) out.dirs_.push_back({mount.controller, mount.v2, std::move(*fd), mount.path + ct});
  }
  if (!host.unified.empty()) {
    out.unified_path_ = host.unified + ct;
    if (auto fd = open_group(AT_FDCWD, out.unified_path_)) out.unified_ct_ = std::move(*fd);
    if (out.unified_ct_)
      if (auto fd = open_group(out.unified_ct_.get(), "ns")) out.ns_ = std::move(*fd);
  }
  if (host.systemd_manages && !host.systemd_v1.empty())
    if (auto fd = open_group(AT_FDCWD, host.systemd_v1 + "/" + scope_path(id))) out.systemd_v1_ = std::move(*fd);
  if (out.dirs_.empty() && !out.unified_ct_)
    return fail(Code::not_running, "container " + id.str() + " has no control groups");
  return out;
}

bool Cgroups::present(const CgroupHost& host, Ctid id) {
  for (const auto& h : hierarchies(host))
    if (exists(h.path + "/" + scope_path(id))) return true;
  return false;
}

Result<UniqueFd> Cgroups::exec_fd() const {
  if (!ns_) return UniqueFd();
  // The container may own what it finds here: a group that it made under our name is passed over.
  for (const char* name : {".vz", ".vz1", ".vz2", ".vz3"}) {
    if (::mkdirat(ns_.get(), name, 0755) != 0 && errno != EEXIST)
      return fail_errno("make cgroup " + unified_path_ + "/ns/" + name);
    auto fd = open_group(ns_.get(), name);
    if (fd && usable_leaf(fd->get())) return fd;
  }
  return fail(Error(Code::exec_failed, "no usable cgroup for a new process below " + unified_path_ + "/ns")
                  .with_hint("the container made its cgroup tree threaded; stop it with `vzctl stop --fast`"));
}

// "tasks", not "cgroup.procs": for a thread that moves itself the kernel then takes no lock against forks, whose price
// is an RCU grace period (10 to 30 ms, first of a burst). The writers here have one thread, so it is the same.
Result<std::vector<UniqueFd>> Cgroups::v1_procs() const {
  std::vector<UniqueFd> out;
  std::vector<std::string> seen;
  for (const auto& dir : dirs_) {
    if (dir.v2 || std::find(seen.begin(), seen.end(), dir.path) != seen.end()) continue;
    seen.push_back(dir.path);
    out.push_back(VZ_TRY_CTX(open_at(dir.fd.get(), "tasks", O_WRONLY), dir.path));
  }
  if (systemd_v1_) out.push_back(VZ_TRY(open_at(systemd_v1_.get(), "tasks", O_WRONLY)));
  return out;
}

Result<std::string> Cgroups::read(Controller c, const std::string& file) const {
  int fd = ct_fd(c);
  if (fd < 0) return fail(Code::unsupported, std::string("no ") + controller_name(c) + " controller on this host");
  return std::string(trim(VZ_TRY_CTX(read_file_at(fd, file), ct_path(c))));
}

Result<std::vector<pid_t>> Cgroups::pids() const {
  std::vector<pid_t> out;
  if (unified_ct_) VZ_TRY(append_pids(unified_ct_.get(), out));
  // Also v1: a process on its way in may be in some hierarchies only.
  for (const auto& dir : dirs_)
    if (!dir.v2) VZ_TRY(append_pids(dir.fd.get(), out));
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<> Cgroups::freeze(bool on) const {
  const char* what = on ? "freeze container" : "thaw container";
  if (unified_ct_) {
    VZ_TRY_CTX(write_kernel_file_at(unified_ct_.get(), "cgroup.freeze", on ? "1" : "0"), what);
    VZ_TRY_CTX(wait_frozen(unified_ct_.get(), on), what);
    return {};
  }
  int fd = ct_fd(Controller::freezer);
  if (fd < 0) return fail(Code::unsupported, "this host has neither cgroup2 nor the v1 freezer");
  VZ_TRY_CTX(write_kernel_file_at(fd, "freezer.state", on ? "FROZEN" : "THAWED"), what);
  VZ_TRY_CTX(wait_frozen_v1(fd, on), what);
  return {};
}

std::string Cgroups::freeze_path() const { return unified_ct_ ? unified_path_ : ct_path(Controller::freezer); }

bool Cgroups::populated() const {
  if (unified_ct_ && group_populated(unified_ct_.get(), true)) return true;
  return std::any_of(dirs_.begin(), dirs_.end(),
                     [](const Dir& dir) { return !dir.v2 && group_populated(dir.fd.get(), false); });
}

Result<std::uint64_t> Cgroups::unified_id() const {
  if (!unified_ct_) return fail(Code::unsupported, "this host has no cgroup2");
  return inode_of(unified_ct_.get());  // kernfs: the inode number is the id
}

int Cgroups::ct_fd(Controller c) const {
  for (const auto& dir : dirs_)
    if (dir.controller == c) return dir.fd.get();
  return -1;
}

std::string Cgroups::ct_path(Controller c) const {
  for (const auto& dir : dirs_)
    if (dir.controller == c) return dir.path;
  return {};
}

}  // namespace vz

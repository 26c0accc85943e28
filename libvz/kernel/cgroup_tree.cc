// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/cgroup_tree.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// Names of child groups. The container makes groups below its own as it likes; cgroupfs has no symlinks.
Result<std::vector<std::string>> child_groups(int fd) {
  std::vector<std::string> out;
  for (auto& name : VZ_TRY(list_dir_at(fd, "."))) {
    struct stat st;
    if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
      out.push_back(std::move(name));
  }
  return out;
}

// A threaded group answers EOPNOTSUPP (its processes are listed in its domain), a vanished one ENODEV or ENOENT.
bool nothing_to_list(const Error& e) {
  return e.sys_errno() == EOPNOTSUPP || e.sys_errno() == ENODEV || e.sys_errno() == ENOENT;
}

}  // namespace

std::string scope_name(Ctid id) { return "vz-" + id.str() + ".scope"; }
std::string scope_path(Ctid id) { return std::string(kSlice) + "/" + scope_name(id); }

std::vector<std::string> own_hierarchies(std::string_view proc_cgroup, Ctid id) {
  const std::string own = "/" + scope_path(id) + "/";
  std::vector<std::string> out;
  for (const auto& line : split(proc_cgroup, '\n')) {
    const auto names = line.find(':'), path = names == line.npos ? names : line.find(':', names + 1);
    if (path != line.npos && (line.substr(path + 1) + "/").find(own) != line.npos)
      out.push_back(line.substr(names + 1, path - names - 1));
  }
  return out;
}

std::vector<Hierarchy> hierarchies(const CgroupHost& host) {
  std::vector<Hierarchy> out;
  // First, because what hangs on it (CLONE_INTO_CGROUP, cgroup.kill) is what we rely on most.
  if (!host.unified.empty()) out.push_back({host.unified, true, false});
  for (const auto& mount : host.controllers) {
    auto known = std::find_if(out.begin(), out.end(), [&](const Hierarchy& h) { return h.path == mount.path; });
    if (known == out.end()) known = out.insert(out.end(), {mount.path, mount.v2, false});
    if (mount.controller == Controller::cpuset && !mount.v2) known->cpuset_v1 = true;
  }
  return out;
}

Result<UniqueFd> open_group(int dirfd, const std::string& path) {
  return open_at(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

bool has_entry(int dirfd, const std::string& path) {
  return ::faccessat(dirfd, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool group_populated(int fd, bool v2) {
  if (v2) {
    auto events = read_file_at(fd, "cgroup.events");
    return events && events->find("populated 1") != std::string::npos;
  }
  std::vector<pid_t> pids;
  return append_pids(fd, pids) && !pids.empty();
}

Result<> append_pids(int fd, std::vector<pid_t>& out) {
  auto text = read_file_at(fd, "cgroup.procs", 64u << 20);
  if (!text && !nothing_to_list(text.error())) return fail(std::move(text).error());
  for (const auto& line : split_blank(text ? *text : std::string())) {
    auto pid = parse_u64(line);
    if (pid && *pid != 0) out.push_back(static_cast<pid_t>(*pid));  // 0: a process outside of our pid namespace
  }
  auto children = child_groups(fd);
  if (!children) return {};  // removed meanwhile
  for (const auto& name : *children)
    if (auto child = open_group(fd, name)) VZ_TRY(append_pids(child->get(), out));
  return {};
}

Result<> remove_group(int dirfd, const std::string& name) {
  auto group = open_group(dirfd, name);
  if (!group) {
    if (group.error().sys_errno() == ENOENT) return {};
    return fail(std::move(group).error());
  }
  auto children = child_groups(group->get());
  if (children)
    for (const auto& child : *children) VZ_TRY(remove_group(group->get(), child));
  if (::unlinkat(dirfd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return fail_errno("remove cgroup " + name);
  return {};
}

}  // namespace vz

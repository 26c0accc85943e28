// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/cgroup_file.h"

#include <sys/stat.h>

#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {
std::string group_path(const std::string& mount, Ctid id) { return mount + "/" + scope_path(id) + "/ct"; }
}  // namespace

Result<std::string> read_group_file(const ControllerMount& mount, Ctid id, const char* file) {
  return read_file(group_path(mount.path, id) + "/" + file);
}

Result<std::uint64_t> unified_group_id(const CgroupHost& host, Ctid id) {
  if (host.unified.empty()) return fail(Code::unsupported, "this host has no cgroup2");
  // The inode number is the id (kernfs, 64-bit hosts).
  struct stat st = {};
  auto path = group_path(host.unified, id);
  if (::stat(path.c_str(), &st) != 0) return fail_errno("look at " + path);
  return st.st_ino;
}

}  // namespace vz

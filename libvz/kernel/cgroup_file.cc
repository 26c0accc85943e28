// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/cgroup_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {
std::string group_path(const std::string& mount, Ctid id) { return mount + "/" + scope_path(id) + "/ct"; }
}  // namespace

Result<std::string> read_group_file(const ControllerMount& mount, Ctid id, const char* file) {
  return read_file(group_path(mount.path, id) + "/" + file);
}

Result<GroupDir> GroupDir::open(const std::string& mount, Ctid id) {
  return GroupDir(VZ_TRY(open_file(group_path(mount, id), O_PATH | O_DIRECTORY)));
}

// A file of a control group comes whole in one read(2) when there is room for it.
Result<std::string> GroupDir::read(const char* file) const {
  UniqueFd fd(::openat(fd_.get(), file, O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(std::string("open control group file ") + file);
  std::string out(4096, '\0');
  for (std::size_t have = 0;;) {
    ssize_t got = ::read(fd.get(), out.data() + have, out.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(std::string("read control group file ") + file);
    have += static_cast<std::size_t>(got);
    if (have < out.size()) {
      out.resize(have);
      return out;
    }
    out.resize(out.size() * 2);
  }
}

Result<std::uint64_t> GroupDir::id() const { return inode_of(fd_.get()); }

Result<std::uint64_t> unified_group_id(const CgroupHost& host, Ctid id) {
  if (host.unified.empty()) return fail(Code::unsupported, "this host has no cgroup2");
  // The inode number is the id (kernfs, 64-bit hosts).
  struct stat st = {};
  auto path = group_path(host.unified, id);
  if (::stat(path.c_str(), &st) != 0) return fail_errno("look at " + path);
  return st.st_ino;
}

}  // namespace vz

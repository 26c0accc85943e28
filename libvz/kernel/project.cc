// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/project.h"

#include <cerrno>

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <fmt/format.h>

namespace vz {

namespace {

tl::unexpected<Error> failed(const std::string& what) {
  const int err = errno;
  const bool missing = err == EOPNOTSUPP || err == ENOTTY;
  return fail(Error::from_errno(err, what, missing ? Code::unsupported : Code::quota_set));
}

}  // namespace

Result<Project> project_of(int fd) {
  fsxattr attr = {};
  if (::ioctl(fd, FS_IOC_FSGETXATTR, &attr) != 0) return failed("read the project id");
  return Project{attr.fsx_projid, (attr.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0};
}

Result<> set_project(int fd, Project project) {
  fsxattr attr = {};
  if (::ioctl(fd, FS_IOC_FSGETXATTR, &attr) != 0) return failed("read the project id");
  if (Project{attr.fsx_projid, (attr.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0} == project) return {};
  const auto before = attr.fsx_xflags;
  attr.fsx_projid = project.id;
  attr.fsx_xflags &= ~static_cast<std::uint32_t>(FS_XFLAG_PROJINHERIT | FS_XFLAG_IMMUTABLE);
  if (project.inherit) attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
  if (::ioctl(fd, FS_IOC_FSSETXATTR, &attr) != 0) return failed(fmt::format("set the project id {}", project.id));
  if (!(before & FS_XFLAG_IMMUTABLE)) return {};
  attr.fsx_xflags |= FS_XFLAG_IMMUTABLE;
  if (::ioctl(fd, FS_IOC_FSSETXATTR, &attr) != 0) return failed("make the file immutable again");
  return {};
}

}  // namespace vz

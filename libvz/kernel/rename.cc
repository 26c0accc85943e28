// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/rename.h"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {

namespace {

std::string parent_of(const std::string& path) {
  auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<> sync_dir(const std::string& path) {
  auto fd = VZ_TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  if (fsync(fd.get()) != 0) return fail_errno("fsync " + path);
  return {};
}

}  // namespace

Result<> rename_durably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return fail_errno("rename " + from + " to " + to);
  VZ_TRY(sync_dir(parent_of(to)));
  if (parent_of(from) != parent_of(to)) VZ_TRY(sync_dir(parent_of(from)));
  return {};
}

Result<> exchange_durably(const std::string& one, const std::string& other) {
  if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) != 0)
    return fail_errno("exchange " + one + " and " + other);
  VZ_TRY(sync_dir(parent_of(one)));
  if (parent_of(one) != parent_of(other)) VZ_TRY(sync_dir(parent_of(other)));
  return {};
}

Result<> remove_empty_dir(const std::string& path) {
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY)
    return {};
  return fail_errno("rmdir " + path);
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/mounted_on.h"

#include <cstdint>

#include <fcntl.h>
#include <sys/stat.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/mount_table.h"

namespace vz {

MountedOn find_mount(const std::string& mountinfo, std::uint64_t id) {
  for (auto& mount : parse_mounts(mountinfo))
    if (mount.id == id) return {std::move(mount.type), std::move(mount.source), std::move(mount.point)};
  return {};
}

Result<MountedOn> mounted_on(int fd) {
  struct statx sx = {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) != 0) return fail_errno("statx");
  auto found = find_mount(VZ_TRY(read_file("/proc/self/mountinfo")), sx.stx_mnt_id);
  if (found.type.empty()) return fail(Code::system, "the mount is not in /proc/self/mountinfo");
  return found;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/vzfs.h"

#include <fcntl.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/module.h"
#include "libvz/kernel/mount.h"

namespace vz {

namespace {

// Empty in every /proc; /proc/user_beancounters, /proc/bc and /proc/vz are links into it.
constexpr const char* kDirectory = "fs/vz";
constexpr const char* kHostDirectory = "/proc/fs/vz";

Result<UniqueFd> new_vzfs() {
  // Asking for an unknown file system makes the kernel run modprobe.
  if (!module_loaded("vz")) return fail(Code::unsupported, "vz.ko is not loaded");
  return new_mount("vzfs", {}, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

}  // namespace

Result<ProcFiles> mount_vzfs(IdMap idmap, bool beancounters) {
  ProcFiles out;
  out.mount = VZ_TRY(new_vzfs());
  UniqueFd userns = VZ_TRY(make_userns(idmap));
  VZ_TRY(set_idmap(out.mount.get(), userns));
  for (const char* name : {"meminfo", "stat", "uptime", "loadavg", "cpuinfo", "swaps"})
    if (open_at(out.mount.get(), name, O_PATH | O_NOFOLLOW)) out.files.push_back({name, name});
  if (beancounters && open_at(out.mount.get(), "ct", O_PATH | O_NOFOLLOW)) out.files.push_back({"ct", kDirectory});
  return out;
}

Result<> mount_host_vzfs() {
  if (is_mount_point(kHostDirectory)) return {};
  if (!exists(kHostDirectory)) return fail(Code::unsupported, "vz.ko is not loaded, or has no beancounters");
  UniqueFd mount = VZ_TRY(new_vzfs());
  return attach_mount(mount.get(), AT_FDCWD, kHostDirectory);
}

Result<> unmount_host_vzfs() {
  if (!is_mount_point(kHostDirectory)) return {};
  return detach_path(kHostDirectory);
}

}  // namespace vz

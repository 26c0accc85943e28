// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/vzfs.h"

#include <fcntl.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/module.h"
#include "libvz/kernel/mount.h"

namespace vz {

Result<ProcFiles> mount_vzfs() {
  // Asking for an unknown file system makes the kernel run modprobe.
  if (!module_loaded("vz")) return fail(Code::unsupported, "vz.ko is not loaded");
  ProcFiles out;
  out.mount =
      VZ_TRY(new_mount("vzfs", {}, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  for (const char* name : {"meminfo", "stat", "uptime", "loadavg", "cpuinfo", "swaps"})
    if (open_at(out.mount.get(), name, O_PATH | O_NOFOLLOW)) out.names.emplace_back(name);
  return out;
}

}  // namespace vz

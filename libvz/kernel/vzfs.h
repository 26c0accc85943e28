// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/error.h>
#include "libvz/kernel/idmap.h"
#include "libvz/kernel/process.h"

namespace vz {

// The file system of vz.ko that shows each reader the memory, CPUs and uptime of its own container: one mount, attached
// nowhere, with those of its files that stand for files of /proc; owned by the container's root. `beancounters`: with
// what makes /proc/user_beancounters and /proc/vz exist. Code::unsupported when the module is not loaded.
Result<ProcFiles> mount_vzfs(IdMap idmap, bool beancounters);

// The same for the host: /proc/user_beancounters, /proc/bc and /proc/vz exist from now on. Being mounted is fine.
Result<> mount_host_vzfs();
Result<> unmount_host_vzfs();  // not being mounted is fine

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/error.h>
#include "libvz/kernel/process.h"

namespace vz {

// The file system of vz.ko that shows each reader the memory, CPUs and uptime of its own container: one mount, attached
// nowhere, with those of its files that stand for files of /proc. Code::unsupported when the module is not loaded.
Result<ProcFiles> mount_vzfs();

}  // namespace vz

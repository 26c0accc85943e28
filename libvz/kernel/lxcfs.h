// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vector>

#include "libvz/kernel/process.h"

namespace vz {

// The /proc files that a running lxcfs(8) offers below /var/lib/lxcfs, to be shown inside a container so that `free`
// and `uptime` there speak of the container. Empty when lxcfs is not mounted.
std::vector<BindFile> lxcfs_files();

}  // namespace vz

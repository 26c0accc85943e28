// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/features.h>
#include <vz/host.h>
#include "libvz/kernel/cgroup.h"

namespace vz {

// Everything that `vzctl check` shows, asked of the running kernel. Takes some milliseconds.
Features probe_features(const HostPaths& paths, const CgroupHost& cgroups);

}  // namespace vz

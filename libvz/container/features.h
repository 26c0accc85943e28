// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/features.h>
#include <vz/host.h>
#include "libvz/kernel/cgroup.h"

namespace vz {

// Everything that `vzctl check` shows, asked of the running kernel. Takes some milliseconds.
// `areas`: the directory that holds the private areas, or will.
Features probe_features(const HostPaths& paths, const CgroupHost& cgroups, const std::string& areas);

}  // namespace vz

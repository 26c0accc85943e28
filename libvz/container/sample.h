// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/container.h>
#include <vz/ctid.h>
#include <vz/host.h>
#include "libvz/kernel/cgroup.h"

namespace vz {

// Live readings of a running container; Code::not_running. What the host has no source for stays empty.
Result<Sample> sample_container(const Host& host, const CgroupHost& cgroup_host, Ctid id, SampleParts parts);

// The part that comes from control group files.
void sample_cgroups(const Cgroups& cgroups, const CgroupHost& host, Sample& sample,
                    SampleParts parts = SampleParts::all);

}  // namespace vz

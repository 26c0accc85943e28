// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/container.h>
#include <vz/ctid.h>
#include "libvz/kernel/bpf_map.h"
#include "libvz/kernel/cgroup.h"

namespace vz {

// Where a container's control group files are, and what is already open for reading many containers.
struct SampleSources {
  const CgroupHost& cgroups;
  const BpfMaps* maps = nullptr;  // nullptr: the programs are not loaded
};

// The readings that come from control group files and maps. What has no source stays empty.
Sample sample_cgroups(const SampleSources& sources, Ctid id, const Readings& wanted);

}  // namespace vz

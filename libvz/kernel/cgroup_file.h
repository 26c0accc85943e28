// SPDX-License-Identifier: LGPL-2.1-or-later
// Reading single files of containers' groups: by path, without opening the groups of all controllers first.
#pragma once

#include <cstdint>
#include <string>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/kernel/cgroup.h"

namespace vz {

// A file of P/ct in one controller's hierarchy. sys_errno() ENOENT: this kernel has no such file, or there is no group.
Result<std::string> read_group_file(const ControllerMount& mount, Ctid id, const char* file);

// The cgroup v2 id of P/ct, by which kernel code knows the container; Code::unsupported without cgroup2.
Result<std::uint64_t> unified_group_id(const CgroupHost& host, Ctid id);

}  // namespace vz

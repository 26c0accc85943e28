// SPDX-License-Identifier: LGPL-2.1-or-later
// Reading single files of containers' groups: by path, without opening the groups of all controllers first.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/cgroup.h"

namespace vz {

// A file of P/ct in one controller's hierarchy. sys_errno() ENOENT: this kernel has no such file, or there is no group.
Result<std::string> read_group_file(const ControllerMount& mount, Ctid id, const char* file);

// P/ct in one hierarchy, open: three system calls for a file, and no way through the tree for each.
class GroupDir {
 public:
  static Result<GroupDir> open(const std::string& mount, Ctid id);
  Result<std::string> read(const char* file) const;
  Result<std::uint64_t> id() const;  // on cgroup2: by which kernel code knows it

 private:
  explicit GroupDir(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// The cgroup v2 id of P/ct, by which kernel code knows the container; Code::unsupported without cgroup2.
Result<std::uint64_t> unified_group_id(const CgroupHost& host, Ctid id);

}  // namespace vz

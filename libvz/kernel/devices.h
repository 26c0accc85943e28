// SPDX-License-Identifier: LGPL-2.1-or-later
// Device access of a container: a BPF_PROG_TYPE_CGROUP_DEVICE program on its cgroup2 directory.
#pragma once

#include <cstdint>
#include <vector>

#include <vz/error.h>

namespace vz {

struct DeviceRule {
  char type = 'c';                      // 'b', 'c', 'a' (both)
  std::int64_t major = -1, minor = -1;  // -1: any
  bool read = false, write = false, mknod = false;
  bool operator==(const DeviceRule&) const = default;
};

// What every container gets: null zero full random urandom tty ptmx console pts, mknod of nothing else.
std::vector<DeviceRule> default_device_rules();
// Replaces the program atomically (BPF_F_REPLACE); everything not listed is denied.
Result<> attach_device_rules(int cgroup_fd, const std::vector<DeviceRule>& rules);

}  // namespace vz

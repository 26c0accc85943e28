// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>

namespace vz {

// One line of /proc/PID/mountinfo: proc_pid_mountinfo(5).
struct MountEntry {
  std::uint64_t id = 0, parent = 0;
  std::string device;  // "MAJ:MIN" of the file system
  std::string root;    // what of the file system is mounted
  std::string point;   // as seen from the process's root
  std::string options, type, source, super_options;
};
// Lines that cannot be read are left out.
std::vector<MountEntry> parse_mounts(std::string_view mountinfo);
Result<std::vector<MountEntry>> read_mounts(pid_t pid);

// Of the file system that `path` is on, as MountEntry::device has it; "" when there is no such file.
std::string device_of(const std::string& path);

}  // namespace vz

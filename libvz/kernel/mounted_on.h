// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>

#include <vz/error.h>

namespace vz {

// Which mount an open file or directory is on, as /proc/self/mountinfo tells it.
struct MountedOn {
  std::string type;    // "ext4"
  std::string source;  // "/dev/sda1"
  std::string point;   // "/var"
};
Result<MountedOn> mounted_on(int fd);

// One line of mountinfo with this mount id, empty fields when there is none. Pure.
MountedOn find_mount(const std::string& mountinfo, std::uint64_t id);

}  // namespace vz

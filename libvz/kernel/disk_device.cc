// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/disk_device.h"

#include "libvz/kernel/file.h"

namespace vz {

bool is_disk(const std::string& device, const std::string& root) {
  const std::string path = root + "/sys/dev/block/" + device;
  auto target = read_link(path);  // "../../devices/virtual/block/loop0"
  if (!target) return true;
  const std::string name = target->substr(target->rfind('/') + 1);
  for (const char* in_memory_or_file : {"loop", "ram", "zram"})
    if (name.starts_with(in_memory_or_file)) return false;
  auto below = list_dir(path + "/slaves");
  return !below || below->empty();
}

}  // namespace vz

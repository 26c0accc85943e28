// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/boot_id.h"

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

std::string read_boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id");
  return text ? std::string(trim(*text)) : std::string();
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

namespace vz {

// /proc/sys/kernel/random/boot_id: another text after every boot of the host. "" when unreadable.
std::string read_boot_id();

}  // namespace vz

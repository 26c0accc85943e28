// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

namespace vz {

// `bytes` random bytes of the kernel's, as hexadecimal digits: names that nobody else chooses.
std::string random_hex(unsigned bytes);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string_view>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// A readable anonymous file with this content, positioned at its start: standard input for a command.
Result<UniqueFd> text_fd(std::string_view text);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// pidfd_send_signal(2): never reaches a recycled pid. A process that is gone is fine.
Result<> send_signal(const UniqueFd& pidfd, int signal);

}  // namespace vz

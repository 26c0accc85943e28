// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>

#include <vz/error.h>
#include "libvz/container/context.h"
#include "libvz/container/state.h"

namespace vz {

// Until the container has booted: systemd says "running" or "degraded"; any other init: at once.
// Code::wait_failed when it takes longer, ends, or says something else.
Result<> wait_booted(Context& ct, const State& state, const UniqueFd& pidfd, std::chrono::seconds timeout);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// A piece of work in a forked child, so that vzd's loop never waits for it.
#pragma once

#include <functional>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Runs `work` in a child with no signal blocked; its result is the exit status. The pidfd is readable when it ended.
// The caller's process must have one thread.
Result<UniqueFd> start_job(const std::function<int()>& work);
// Reaps it: exit status, 128+signal when killed.
int finish_job(const UniqueFd& job);

// Raises the soft limit of open files to the hard one: vzd holds three descriptors per container.
void raise_open_files();

}  // namespace vz

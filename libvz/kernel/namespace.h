// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// /proc/PID/ns/NAME. The caller makes sure (by a pidfd, or because it is the parent) that the pid is the right one.
Result<UniqueFd> open_namespace(pid_t pid, const char* name);
// "net:[4026531840]": the same text, the same namespace, while it exists.
Result<std::string> namespace_id(pid_t pid, const char* name);
Result<UniqueFd> open_own_namespace(const char* name);  // of the calling thread

}  // namespace vz

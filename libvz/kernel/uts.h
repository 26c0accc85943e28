// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Sets the host name of the UTS namespace of a running process; the caller's own is untouched (fork + setns(2)).
Result<> set_hostname_of(const UniqueFd& pidfd, const std::string& hostname);

}  // namespace vz

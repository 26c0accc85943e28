// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Attaches `mount` at `path` in a private mount namespace (a forked child), runs `fn` there and returns a detached,
// recursive clone of what is then mounted at `path`: binds that `fn` made below come along, the caller's namespace
// never sees any of it.
Result<UniqueFd> with_private_mount(const UniqueFd& mount, const std::string& path,
                                    const std::function<Result<>()>& fn);

}  // namespace vz

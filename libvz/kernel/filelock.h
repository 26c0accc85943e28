// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <optional>
#include <string>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// An exclusive flock(2) on `path`, which is made when it is missing, without waiting; nullopt when another open file
// holds it. The file that comes back is the one at `path` now, not one that its last owner has just unlinked.
Result<std::optional<UniqueFd>> try_lock_file(const std::string& path, mode_t mode);
// The whole content of a locked file.
Result<> rewrite_file(const UniqueFd& fd, const std::string& text);
// Unlinks the file, then unlocks it: in this order nobody can lock a file that is about to vanish unnoticed.
void unlink_locked(const std::string& path, UniqueFd fd);

}  // namespace vz

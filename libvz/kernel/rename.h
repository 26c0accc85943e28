// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <vz/error.h>

namespace vz {

// rename(2) that is on disk when it returns: fsync of both parent directories.
Result<> rename_durably(const std::string& from, const std::string& to);
// Two names change places at once (RENAME_EXCHANGE).
Result<> exchange_durably(const std::string& one, const std::string& other);
// rmdir(2); a missing or non-empty directory is fine.
Result<> remove_empty_dir(const std::string& path);

}  // namespace vz

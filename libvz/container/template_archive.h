// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <vz/error.h>
#include <vz/host.h>

namespace vz {

// Path of the archive of an OS template: TEMPLATE/cache/NAME.tar[.zst|.gz|.xz|.bz2]. The name is a plain file name
// (Code::bad_value for anything with a slash); missing: Code::no_template `Cached OS template … not found`.
Result<std::string> find_template(const Host& host, const std::string& name);

}  // namespace vz

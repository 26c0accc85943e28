// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include <vz/error.h>

namespace vz {

// uname(2) of the host.
struct HostIdentity {
  std::string name, kernel, machine;
};
Result<HostIdentity> host_identity();

// Random, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" (proc(5), random/uuid).
Result<std::string> new_uuid();

}  // namespace vz

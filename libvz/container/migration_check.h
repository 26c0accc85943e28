// SPDX-License-Identifier: LGPL-2.1-or-later
// What the destination of a migration must have; asked before anything is copied, and long before anything stands
// still.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vz/error.h>
#include "libvz/container/migration_message.h"
#include "libvz/kernel/criu.h"

namespace vz {

// For processes that go on there, or a dump of them: CRIU, the processor, memory. `force` in the request passes over
// what may be wrong with the latter two. nullopt: there are no processes to go on.
Result<std::optional<CriuProgram>> check_processes(const MigrationMessage& request);
// On the file system that `private_path` will be in.
Result<> check_room(const std::string& private_path, std::uint64_t bytes);

}  // namespace vz

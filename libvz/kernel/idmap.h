// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Ids 0..count-1 of a container are base..base+count-1 on the host, for uids and gids alike.
struct IdMap {
  std::uint32_t base = 0;
  std::uint32_t count = 65536;
  bool operator==(const IdMap&) const = default;
};

// A user namespace with this map and nothing in it, as mount_setattr(2) needs it for an idmapped mount.
Result<UniqueFd> make_userns(IdMap map);
// Writes uid_map, gid_map of `pid`'s new user namespace.
Result<> write_idmap(pid_t pid, IdMap map);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Which ids of the host a dumped container has. CRIU's images name users and groups as the container does; only the map
// of its user namespace says what they are on the host.
#pragma once

#include <vz/error.h>
#include "libvz/kernel/idmap.h"

namespace vz {

// In a directory of images. Code::restore when they are not those of a container with the ids `from`.
Result<> move_ids(int images, IdMap from, IdMap to);

}  // namespace vz

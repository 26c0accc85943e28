// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "libvz/container/context.h"

namespace vz {

// After clean_up(): its root is unmounted from the host, the umount scripts run.
Result<> finish_unmounted(Context& ct, bool skip_umount);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// A mend of CRIU's images. Of a file that is open and executed, CRIU (up to 4.2) keeps one entry, the first that it
// met. When that is one of open(2) with O_PATH, the restore fails with PR_SET_MM_MAP: EBADF. systemd keeps its
// systemd-executor open like this, and (sd-pam) of every user session is one that runs it.
#pragma once

#include <vz/error.h>

namespace vz {

// Gives such executables an entry of their own, in a directory of images that is complete. Code::checkpoint when an
// image is not what it should be.
Result<> part_executables(int images);

}  // namespace vz

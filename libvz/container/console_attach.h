// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

// Connects file descriptors 0 and 1 to the console of a container until `Esc .` or its end; returns 0. Waits for the
// container's start when it does not run (SIGINT ends the program as usual). tty 1 is /dev/console; the others do not
// exist in a container of this version: Code::unsupported.
Result<int> attach_console(const Host& host, Ctid id, int tty, Reporter& reporter);

}  // namespace vz

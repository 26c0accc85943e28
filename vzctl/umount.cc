// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/command.h"

namespace vzctl {

int run_umount(Invocation& call) { return finish(call.reporter, call.container().umount(call.reporter)); }

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/command.h"

namespace vzctl {

int run_restart(Invocation& call) {
  auto stop = to_stop_options(call.options);
  if (!stop) return finish(call.reporter, stop.error());
  return finish(call.reporter, call.container().restart(to_start_options(call.options), *stop, call.reporter));
}

}  // namespace vzctl

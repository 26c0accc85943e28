// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/command.h"

namespace vzctl {

int run_mount(Invocation& call) {
  auto done = call.container().mount(call.reporter);
  int status = finish(call.reporter, done);
  // Mounting twice has always been said and forgiven.
  return !done && done.error().code() == vz::Code::mounted ? 0 : status;
}

}  // namespace vzctl

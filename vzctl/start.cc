// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/command.h"

namespace vzctl {

vz::StartOptions to_start_options(const Options& options) {
  vz::StartOptions out;
  out.force = options.has("--force");
  out.enforce_all = !out.force;
  out.wait = options.has("--wait");
  out.skip_fsck = options.has("--skip-fsck");
  return out;
}

int run_start(Invocation& call) {
  return finish(call.reporter, call.container().start(to_start_options(call.options), call.reporter));
}

}  // namespace vzctl

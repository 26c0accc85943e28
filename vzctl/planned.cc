// SPDX-License-Identifier: GPL-2.0-or-later
// Commands that OpenVZ had and this release has not: scripts must be able to tell them from typing errors.
#include <fmt/format.h>

#include "vzctl/command.h"

namespace vzctl {

int run_planned(Invocation& call) {
  return finish(call.reporter, vz::Error(vz::Code::unsupported, fmt::format("vzctl {} is not available yet", call.word))
                                   .with_hint("nothing was changed"));
}

}  // namespace vzctl

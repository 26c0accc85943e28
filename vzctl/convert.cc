// SPDX-License-Identifier: GPL-2.0-or-later
// The disk of a container in another form: convert, compact.
#include "vzctl/command.h"

namespace vzctl {

int run_convert(Invocation& call) {
  return finish(call.reporter, call.container().convert(call.options.value_or("--layout", "image"), call.reporter));
}

int run_compact(Invocation& call) { return finish(call.reporter, call.container().compact(call.reporter)); }

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>

#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {

int run_status(Invocation& call) {
  call.reporter.set_verbosity(-1);
  // Never fails: monitoring scripts read the words, not the exit status.
  vz::Status status;
  if (auto got = call.container().status())
    status = *got;
  else
    call.reporter.error(got.error());
  std::string text;
  if (call.options.has("--json")) {
    text = to_json(Value::Object{{"ctid", std::uint64_t{call.id.value()}},
                                 {"exists", status.exists},
                                 {"mounted", status.mounted},
                                 {"running", status.running},
                                 {"suspended", status.suspended}});
  } else {
    bool color = use_color(call.reporter.color(), 1);
    text = fmt::format(
        "CTID {} {} {} {}{}\n", call.id.value(), status.exists ? "exist" : paint("deleted", Tone::bad, color),
        status.mounted ? "mounted" : "unmounted", status.running ? paint("running", Tone::good, color) : "down",
        status.suspended ? " suspended" : "");
  }
  (void)put(text);
  return 0;
}

}  // namespace vzctl

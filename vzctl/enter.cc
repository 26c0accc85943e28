// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>

#include "vzctl/command.h"

namespace vzctl {

int run_enter(Invocation& call) {
  auto words = std::move(call.options.words);
  vz::ExecOptions options;
  options.pty = true;
  if (words.empty()) {
    options.login_shell = true;
  } else if (words.front() == "--exec" && words.size() > 1) {
    options.argv.assign(words.begin() + 1, words.end());
    options.shell = true;
  } else {
    bool bare = words.front() == "--exec";
    return finish(call.reporter,
                  vz::Error(vz::Code::bad_syntax, bare ? "No command line given for --exec"
                                                       : fmt::format("Unknown option: {}", words.front()))
                      .with_hint("usage: vzctl enter CTID [--exec COMMAND [ARG...]]"));
  }
  if (options.login_shell) call.reporter.info(fmt::format("entered into CT {}", call.id.value()));
  auto status = call.container().exec(options, call.reporter);
  if (options.login_shell && status) call.reporter.info(fmt::format("exited from CT {}", call.id.value()));
  return status ? *status : finish(call.reporter, status.error());
}

}  // namespace vzctl

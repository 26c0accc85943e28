// SPDX-License-Identifier: GPL-2.0-or-later
// exec, exec2 and exec3 differ in the shell and in the exit status.
#include "vzctl/command.h"

namespace vzctl {

int run_exec(Invocation& call) {
  auto& words = call.options.words;
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  if (words.empty()) return finish(call.reporter, vz::Error(vz::Code::bad_syntax, "No command line given for exec"));
  vz::ExecOptions options;
  options.shell = call.word != "exec3";
  options.argv = std::move(words);
  // The shell replaces itself by one that reads its commands from standard input.
  if (options.argv.size() == 1 && options.argv[0] == "-") {
    options.shell = true;
    options.argv = {"if [ -x /bin/bash ]; then exec /bin/bash; else exec /bin/sh; fi"};
  }
  auto status = call.container().exec(options, call.reporter);
  if (!status) return finish(call.reporter, status.error());
  bool own_status = call.word != "exec";
  return *status == 0 || own_status ? *status : static_cast<int>(vz::Code::exec_failed);
}

}  // namespace vzctl

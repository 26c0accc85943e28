// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "vzctl/command.h"

namespace vzctl {

int run_runscript(Invocation& call) {
  if (call.options.words.empty())
    return finish(
        call.reporter,
        vz::Error(vz::Code::bad_syntax, "Script not specified").with_hint("usage: vzctl runscript CTID FILE"));
  const std::string& file = call.options.words[0];
  if (access(file.c_str(), R_OK) != 0)
    return finish(call.reporter,
                  vz::Error(vz::Code::no_script, fmt::format("Script not found: {}", file)).with_hint(strerror(errno)));
  auto status = call.container().runscript(file, call.reporter);
  return status ? *status : finish(call.reporter, status.error());
}

}  // namespace vzctl

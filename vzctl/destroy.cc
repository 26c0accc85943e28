// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include <iostream>

#include <fmt/format.h>

#include "vzctl/command.h"

namespace vzctl {
namespace {

// OpenVZ never asked: only a person at a terminal is asked.
bool confirmed(vz::Ctid id) {
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) return true;
  fputs(fmt::format("Destroy container {} with all its data? [y/N] ", id.value()).c_str(), stdout);
  fflush(stdout);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace

int run_destroy(Invocation& call) {
  if (!call.options.has("--force") && !confirmed(call.id))
    return finish(call.reporter, vz::Error(vz::Code::no_access, "Container was not destroyed"));
  return finish(call.reporter, call.container().destroy(call.reporter));
}

}  // namespace vzctl

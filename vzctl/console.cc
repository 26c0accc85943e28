// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/format.h>

#include "vzctl/command.h"

namespace vzctl {

int run_console(Invocation& call) {
  int tty = 1;
  if (!call.options.words.empty()) {
    const std::string& word = call.options.words[0];
    if (word.empty() || word.size() > 2 || word.find_first_not_of("0123456789") != word.npos || word == "0" ||
        word == "00")
      return finish(call.reporter, vz::Error(vz::Code::bad_value, fmt::format("Bad tty number: {} (1 to 99)", word)));
    tty = std::stoi(word);
  }
  return finish(call.reporter, call.container().console(tty, call.reporter));
}

}  // namespace vzctl

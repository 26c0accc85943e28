// SPDX-License-Identifier: LGPL-2.1-or-later
// The user's side of a console: a raw terminal connected to the pty's master, with Esc as the escape key.
#pragma once

#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Finds the user's commands in what he types: `Esc .` detaches, `Esc !` (OpenVZ's SAK) is accepted and does nothing,
// anything else after Esc goes through together with the Esc.
class EscapeFilter {
 public:
  struct Output {
    std::string text;
    bool detach = false;
  };
  Output feed(std::string_view typed);
  bool pending() const { return escape_; }
  // The Esc was meant for the container: nothing followed it for a while.
  std::string flush();

 private:
  bool escape_ = false;
};

enum class ConsoleEnd {
  detached,     // Esc .
  closed,       // the container ended
  lost,         // `lease` was closed by its other end
  interrupted,  // SIGTERM, SIGHUP or, without a terminal, SIGINT
};

// Runs until one of the ends above. `in` may be no terminal; end of file there stops only the input. The terminal's
// mode and the signal mask are restored on every path.
Result<ConsoleEnd> proxy_console(const UniqueFd& master, const UniqueFd& lease, int in, int out);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// What a child reports to its parent before execve: a sequenced-packet socket that exec closes.
#pragma once

#include <optional>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

struct ChildMessage {
  enum Kind : int { failed = 1, descriptor = 2, executing = 3, go = 4 };
  Kind kind = failed;
  int step = 0;  // the caller's own enum
  int error = 0;
  char object[52] = {};  // what the step was about
};

struct ChildChannel {
  UniqueFd parent, child;
  static Result<ChildChannel> open();
};

// Async-signal-safe. `fd` goes along when it is not -1. 0 or -1 with errno.
int send_message(int socket, const ChildMessage& message, int fd = -1);
// Fills `object` from the step's object, cut to what fits.
void set_object(ChildMessage& message, const char* object);

struct Received {
  ChildMessage message;
  UniqueFd fd;
};
// nullopt: the other end is closed (by exec, or because the process died).
Result<std::optional<Received>> receive_message(int socket);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// The user's side of a pty whose other end is in a container.
#pragma once

#include <string>

#include <poll.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// In the child, in the container's mount namespace: opens a new pty of its /dev/pts. The files there are hostile: what
// is opened must be the multiplexer of a devpts. 0, or -1 with errno.
int open_pty(int* master, int* slave);

// Copies between fds `in`, `out` and the master, with bounded buffers and no busy waiting.
class PtyProxy {
 public:
  static Result<PtyProxy> create(UniqueFd master, int in, int out);

  static constexpr int kFds = 3;
  // Fills kFds entries for poll(2); the longest time to wait in milliseconds comes back, -1: for ever.
  int prepare(pollfd* fds);
  void handle(const pollfd* fds);
  void copy_window_size() const;
  // After the session's end: passes on what is still in the pty.
  void drain();

 private:
  PtyProxy() = default;
  bool read_master();
  void write_master();
  bool write_out();
  void read_in();
  void end_input();

  UniqueFd master_;
  int in_ = -1, out_ = -1;
  bool hung_up_ = false;  // no slave is open at the moment
  bool input_ended_ = false;
  bool mid_line_ = false;
  std::string to_container_, to_user_;
};

}  // namespace vz

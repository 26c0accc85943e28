// SPDX-License-Identifier: LGPL-2.1-or-later
// A program that carries bytes to somewhere else: ssh with a vzctl at its other end.
#pragma once

#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Asked to end (its standard input closes, then SIGTERM) and reaped when dropped.
class PeerProcess {
 public:
  PeerProcess(PeerProcess&& other) noexcept;
  PeerProcess& operator=(PeerProcess&&) = delete;
  ~PeerProcess();
  // Its standard input and output, a socket; to be taken once.
  UniqueFd take_stream() { return std::move(stream_); }
  // After the stream was closed it ends by itself, or is made to: exit status, 128+signal.
  int end();

 private:
  friend Result<PeerProcess> start_peer(const std::vector<std::string>& argv);
  PeerProcess(int pid, UniqueFd stream) : pid_(pid), stream_(std::move(stream)) {}
  int pid_ = -1;
  UniqueFd stream_;
};

// argv[0] is looked up in PATH. The caller's standard error and environment: ssh asks, warns and finds its agent there.
// It leads a session of its own, so that Ctrl-C reaches the caller alone, who undoes what was begun.
Result<PeerProcess> start_peer(const std::vector<std::string>& argv);

}  // namespace vz

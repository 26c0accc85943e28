// SPDX-License-Identifier: LGPL-2.1-or-later
// What stands in the way of saving a running container, asked before anything is stopped.
#pragma once

#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

struct Obstacle {
  enum class Effect {
    blocks,   // cannot be saved: chkpnt would fail
    changes,  // would be lost or different after restore, without an error
  };
  Effect effect = Effect::blocks;
  int pid = 0;          // inside; 0: concerns the container as a whole
  int host_pid = 0;     // the same process as the host sees it
  std::string command;  // its name, printable
  std::string object;   // what: "io_uring", "UTS namespace of its own"
  std::string remedy;   // what to do
};

// Code::not_running. Processes come and go meanwhile: an empty answer is no promise.
VZ_API Result<std::vector<Obstacle>> find_obstacles(const Host& host, Ctid id);

}  // namespace vz

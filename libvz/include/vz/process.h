// SPDX-License-Identifier: LGPL-2.1-or-later
// Whose a process is.
#pragma once

#include <string>

#include <sys/types.h>

#include <vz/ctid.h>
#include <vz/error.h>

namespace vz {

struct ProcessOwner {
  Ctid id{0};        // 0: the host
  pid_t inside = 0;  // its pid in the container, or in the innermost pid namespace that it is in
  std::string name;  // of the command; the process chooses it
};
// Code::bad_value `Process not found` when there is no such process.
VZ_API Result<ProcessOwner> process_owner(pid_t pid);

}  // namespace vz

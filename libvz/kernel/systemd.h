// SPDX-License-Identifier: LGPL-2.1-or-later
// The little that vz asks of systemd on a host where it is PID 1: a transient scope per container.
// libsystemd is loaded with dlopen when it is needed: vzctl neither depends on it nor pays for it elsewhere.
#pragma once

#include <cstdint>
#include <string>

#include <sys/types.h>

#include <vz/error.h>

namespace vz {

struct Scope {
  std::string name;  // "vz-101.scope"
  std::string slice;
  std::string description;
  pid_t pid = -1;  // its first process; the scope ends with its last one
};

// Starts the scope and waits until it is active. A unit of that name without processes is replaced.
Result<> start_scope(const Scope& scope);
// Stops a unit and waits until that is done; one that does not exist is fine.
Result<> stop_unit(const std::string& name);
// A property in bytes of a unit (MemoryLow=, MemoryMin=), until it ends.
Result<> set_unit_bytes(const std::string& name, const char* property, std::uint64_t bytes);
// Whether libsystemd can be loaded; its path or the reason why not.
Result<std::string> libsystemd();

}  // namespace vz

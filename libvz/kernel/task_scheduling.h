// SPDX-License-Identifier: LGPL-2.1-or-later
// To which CPUs the threads of a container are bound, and with what priority they read and write: CRIU keeps neither.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>

namespace vz {

struct TaskScheduling {
  pid_t inside = 0;            // the thread, in the container's pid namespace
  std::vector<unsigned> cpus;  // ascending; empty: wherever the container's init may run
  int io_priority = 0;         // ioprio_get(2); 0: none of its own
  bool operator==(const TaskScheduling&) const = default;
};

// Of all threads of `processes` that are bound otherwise than `init`, or have an I/O priority of their own.
std::vector<TaskScheduling> read_scheduling(const std::vector<pid_t>& processes, pid_t init);
// Gives them back. What cannot be (a CPU that is not here), as text: "process 12: CPUs 7: Invalid argument".
std::vector<std::string> apply_scheduling(const std::vector<pid_t>& processes,
                                          const std::vector<TaskScheduling>& saved);

}  // namespace vz

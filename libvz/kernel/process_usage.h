// SPDX-License-Identifier: LGPL-2.1-or-later
// What processes hold, added up from /proc: for hosts where no program in the kernel counts it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

#include <sys/types.h>

#include <vz/error.h>

namespace vz {

// Open file descriptors, each process's own; a file that several of them have open counts several times.
std::uint64_t sum_open_files(std::span<const pid_t> pids);

struct StatusSums {
  std::uint64_t private_bytes = 0;  // VmData: of private mappings, used or not
  std::uint64_t signals = 0;        // queued with siginfo, of all users that the processes run as
};
StatusSums sum_status(std::span<const pid_t> pids);

// File locks by the process that took them; locks that belong to an open file (OFD) have no process.
std::map<pid_t, std::uint64_t> file_locks_by_process();

// Pseudo-terminals of the devpts instances that are mounted where process `pid` is. Waits for no file system of the
// container: nullopt when looking would mean asking one.
std::optional<std::uint64_t> count_ptys(pid_t pid);

// What is in /proc/PID/status, pure.
struct ProcessStatus {
  std::uint32_t uid = 0;  // real, as the host sees it
  std::uint64_t private_kib = 0, signals = 0;
  std::uint64_t anonymous_kib = 0;  // private memory of no file, in RAM and swap
  std::string name;
  pid_t innermost_pid = 0;  // in its own pid namespace
};
ProcessStatus parse_process_status(std::string_view text);
Result<ProcessStatus> read_process_status(pid_t pid);
// The number of a process or thread in the innermost of its pid namespaces; 0: it has ended.
pid_t innermost_pid(pid_t task);
// The same for /proc/locks.
std::map<pid_t, std::uint64_t> parse_locks(std::string_view text);

}  // namespace vz

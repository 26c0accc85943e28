// SPDX-License-Identifier: LGPL-2.1-or-later
// System calls in the name of another process: what it cannot be asked for and nobody else may do for it.
#pragma once

#include <array>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// A process all of whose threads stand still (ptrace(2)). The destructor lets them go on as if nothing had been; a
// tracer that is killed before leaves a process that crashes, so this belongs into a child that nobody kills.
// x86-64 alone; Code::unsupported elsewhere, and for 32-bit programs.
class RemoteTask {
 public:
  // Code::not_running when it ends, Code::locked when it does not stop or somebody else traces it.
  static Result<RemoteTask> stop(pid_t pid);
  RemoteTask(RemoteTask&& other) noexcept
      : pid_(other.pid_), threads_(std::move(other.threads_)), entry_(other.entry_) {
    other.threads_.clear();
  }
  RemoteTask& operator=(RemoteTask&&) = delete;
  ~RemoteTask();

  // In its main thread; not past a seccomp filter where the kernel cannot suspend that. The call's negative errno is an
  // error.
  Result<long> call(long number, const std::array<unsigned long, 6>& arguments = {});
  // A copy here of one of its descriptors.
  Result<UniqueFd> fetch(long fd) const;

 private:
  explicit RemoteTask(pid_t pid) : pid_(pid) {}
  Result<> stop_threads();
  Result<> find_entry();
  pid_t pid_;
  std::vector<pid_t> threads_;
  unsigned long entry_ = 0;  // address of a `syscall` instruction in its vDSO
};

// A userfaultfd(2) of each process's memory, made in it and taken out of it again; invalid where that does not work
// (it ended, is traced, its threads do not stop). Works in a child of its own, which outlives the caller.
Result<std::vector<UniqueFd>> take_userfaultfds(const std::vector<pid_t>& pids);

}  // namespace vz

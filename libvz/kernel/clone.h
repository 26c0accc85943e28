// SPDX-License-Identifier: LGPL-2.1-or-later
// clone3(2) as a fork(2) that chooses namespaces and the cgroup, for children that only make system calls.
#pragma once

#include <cstdint>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

struct CloneRequest {
  std::uint64_t flags = 0;  // CLONE_NEW*, CLONE_PARENT; CLONE_PIDFD and CLONE_INTO_CGROUP are set as needed
  int cgroup_fd = -1;       // cgroup2 directory to start in, -1: the caller's
  int exit_signal = 17;     // SIGCHLD; 0 where the caller's SIGCHLD handler shall not notice
};

// Returns 0 in the child, -1 with errno in the parent. Goes around glibc's atfork handlers and caches: the child may
// only use async-signal-safe functions. `pidfd` may be null.
pid_t clone_process(const CloneRequest& request, int* pidfd);

class Child;
// A child that does nothing until it is killed, which happens with its Child and with us.
Result<Child> start_idle_child();

// A cloned child until it is reaped: killed and reaped with the object.
class Child {
 public:
  Child() = default;
  Child(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child() { kill_and_reap(); }

  pid_t pid() const { return pid_; }
  const UniqueFd& pidfd() const { return pidfd_; }
  // Blocks until it ended; exit status, or 128+signal.
  Result<int> wait();
  void kill_and_reap();
  // It lives on without us; it is no longer killed by the destructor.
  UniqueFd disown();

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
};

}  // namespace vz

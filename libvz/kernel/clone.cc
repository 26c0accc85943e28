// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/clone.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include <linux/sched.h>

namespace vz {

pid_t clone_process(const CloneRequest& request, int* pidfd) {
  clone_args args{};
  args.flags = request.flags;
  // With CLONE_PARENT the exit signal is the one of the caller's own creation; the kernel refuses another value.
  args.exit_signal = (request.flags & CLONE_PARENT) ? 0 : static_cast<std::uint64_t>(request.exit_signal);
  if (pidfd) {
    args.flags |= CLONE_PIDFD;
    args.pidfd = reinterpret_cast<std::uintptr_t>(pidfd);
  }
  if (request.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(request.cgroup_fd);
  }
  return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
}

Result<Child> start_idle_child() {
  int pidfd = -1;
  pid_t pid = clone_process({}, &pidfd);
  if (pid < 0) return fail_errno("start a child");
  if (pid > 0) return Child(pid, UniqueFd(pidfd));
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) (void)::pause();
}

Child::Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    kill_and_reap();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

Result<int> Child::wait() {
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | __WALL) < 0)
    if (errno != EINTR) return fail_errno("wait for a child");
  pidfd_.reset();
  pid_ = -1;
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

void Child::kill_and_reap() {
  if (!pidfd_) return;
  (void)::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  (void)wait();
  pidfd_.reset();
  pid_ = -1;
}

UniqueFd Child::disown() {
  pid_ = -1;
  return std::move(pidfd_);
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/job.h"

#include <cerrno>

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vz {

Result<UniqueFd> start_job(const std::function<int()>& work) {
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::_exit(work());
  }
  // Not reaped yet, so the number is still its own.
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return fail_errno("pidfd_open");
  return fd;
}

int finish_job(const UniqueFd& job) {
  siginfo_t info{};
  int r;
  do r = ::waitid(P_PIDFD, static_cast<id_t>(job.get()), &info, WEXITED);
  while (r < 0 && errno == EINTR);
  if (r < 0) return 255;
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

void raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace vz

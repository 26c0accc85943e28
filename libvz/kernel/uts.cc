// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/uts.h"

#include <cerrno>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vz {

Result<> set_hostname_of(const UniqueFd& pidfd, const std::string& hostname) {
  pid_t pid = fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    if (setns(pidfd.get(), CLONE_NEWUTS) != 0 || sethostname(hostname.data(), hostname.size()) != 0) _exit(errno);
    _exit(0);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  int err = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
  return tl::unexpected<Error>(Error::from_errno(err, "set host name '" + hostname + "'", Code::hostname));
}

}  // namespace vz

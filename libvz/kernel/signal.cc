// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/signal.h"

#include <cerrno>

#include <sys/syscall.h>
#include <unistd.h>

namespace vz {

Result<> send_signal(const UniqueFd& pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0 || errno == ESRCH) return {};
  return fail_errno("send signal " + std::to_string(signal));
}

}  // namespace vz

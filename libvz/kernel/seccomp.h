// SPDX-License-Identifier: LGPL-2.1-or-later
// The system call filter of a container: allow by default, refuse what reaches around the namespaces or what a
// checkpoint cannot hold, with the error that programs have a fallback for.
#pragma once

#include <vector>

#include <linux/filter.h>

#include <vz/error.h>

namespace vz {

using SeccompProgram = std::vector<sock_filter>;

// What becomes of quotactl and quotactl_fd: EPERM, an answer of who holds the listener (quota_call.h), or the kernel's.
enum class QuotaCalls { refused, asked, native };

// Compiled by libseccomp for this machine's architectures. `nesting` allows namespaces, clone3, io_uring, keyrings.
Result<SeccompProgram> compile_seccomp(bool nesting, QuotaCalls quota = QuotaCalls::refused);

// In the child: loads it without no_new_privs, so that setuid programs work; needs CAP_SYS_ADMIN in the caller's user
// namespace. 0 or -1 with errno. With `listener` it is the filter's notification descriptor, close-on-exec; a process
// has one at most (EBUSY).
int load_seccomp(const SeccompProgram& program, int* listener = nullptr);

}  // namespace vz

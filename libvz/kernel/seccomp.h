// SPDX-License-Identifier: LGPL-2.1-or-later
// The system call filter of a container: allow by default, refuse what reaches around the namespaces or what a
// checkpoint cannot hold, with the error that programs have a fallback for.
#pragma once

#include <vector>

#include <linux/filter.h>

#include <vz/error.h>

namespace vz {

using SeccompProgram = std::vector<sock_filter>;

// Compiled by libseccomp for this machine's architectures. `nesting` allows namespaces, clone3, io_uring, keyrings.
Result<SeccompProgram> compile_seccomp(bool nesting);

// In the child: loads it without no_new_privs, so that setuid programs work; needs CAP_SYS_ADMIN in the caller's user
// namespace. 0 or -1 with errno.
int load_seccomp(const SeccompProgram& program);

}  // namespace vz

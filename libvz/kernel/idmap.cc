// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/idmap.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <string>

#include "libvz/kernel/clone.h"
#include "libvz/kernel/file.h"

namespace vz {

Result<> write_idmap(pid_t pid, IdMap map) {
  std::string line = "0 " + std::to_string(map.base) + " " + std::to_string(map.count) + "\n";
  std::string dir = "/proc/" + std::to_string(pid);
  VZ_TRY(write_kernel_file(dir + "/uid_map", line));
  VZ_TRY(write_kernel_file(dir + "/gid_map", line));
  return {};
}

Result<UniqueFd> make_userns(IdMap map) {
  int fd = -1;
  CloneRequest request;
  request.flags = CLONE_NEWUSER;
  request.exit_signal = 0;
  pid_t pid = clone_process(request, &fd);
  if (pid < 0) return fail_errno("create a user namespace");
  if (pid == 0)
    for (;;) ::pause();
  Child child(pid, UniqueFd(fd));  // killed at the end; the descriptor keeps the namespace
  VZ_TRY(write_idmap(pid, map));
  return open_file("/proc/" + std::to_string(pid) + "/ns/user", O_RDONLY);
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Host programs that read hostile archives: tar, zstd, gzip, xz.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/idmap.h"

namespace vz {

// A boxed program sees a root file system with the host's programs and libraries read-only, /tree, and nothing else;
// it is root only of a new user namespace with `idmap`, without network, and dies with its parent. Whatever an archive
// makes it do, it writes nothing but /tree, with the ids of the container.
struct BoxSpec {
  std::vector<std::string> argv;  // argv[0] absolute
  int tree_fd = -1;               // detached mount: becomes /tree and the working directory. -1: none
  int state_fd = -1;              // another one: becomes /state, for files of the program's own
  IdMap idmap;
  int stdin_fd = -1;  // all three must be given
  int stdout_fd = -1;
  int stderr_fd = -1;
};

// Killed and reaped when dropped.
class BoxedProcess {
 public:
  BoxedProcess(BoxedProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  BoxedProcess& operator=(BoxedProcess&&) = delete;
  ~BoxedProcess();
  void kill();
  Result<int> wait();  // exit status, 128+signal

 private:
  friend Result<BoxedProcess> start_boxed(const BoxSpec& spec);
  explicit BoxedProcess(pid_t pid) : pid_(pid) {}
  pid_t pid_ = -1;
};
// Returns after exec succeeded, or with the step and errno that failed.
Result<BoxedProcess> start_boxed(const BoxSpec& spec);

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Result<Pipe> make_pipe();
// Appends what comes within the time; false at end of file.
Result<bool> read_within(int fd, int timeout_ms, std::string* out);

}  // namespace vz

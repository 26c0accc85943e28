// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

tl::unexpected<Error> gone(pid_t pid) { return fail(Code::not_running, "process " + std::to_string(pid) + " is gone"); }

bool has_ended(const UniqueFd& pidfd) {
  pollfd p{pidfd.get(), POLLIN, 0};
  return ::poll(&p, 1, 0) > 0;
}

struct Stat {
  char state = 0;
  std::uint64_t start_time = 0;
};

Result<Stat> read_stat(pid_t pid) {
  if (pid <= 0) return gone(pid);
  auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  if (!stat) return gone(pid);
  // The second field is the name in parentheses; it may contain blanks and parentheses itself.
  auto end = stat->rfind(')');
  if (end == std::string::npos) return fail(Code::system, "/proc/" + std::to_string(pid) + "/stat: no name");
  auto fields = split_blank(std::string_view(*stat).substr(end + 1));
  constexpr std::size_t kStartTime = 22 - 3;  // the first one here is field 3
  if (fields.size() <= kStartTime) return fail(Code::system, "/proc/" + std::to_string(pid) + "/stat: too short");
  return Stat{fields[0][0], VZ_TRY(parse_u64(fields[kStartTime]))};
}

}  // namespace

Result<ProcessId> identify(pid_t pid) {
  auto stat = VZ_TRY(read_stat(pid));
  return ProcessId{pid, stat.start_time};
}

bool is_alive(const ProcessId& id) {
  auto stat = read_stat(id.pid);
  return stat && stat->start_time == id.start_time && stat->state != 'Z' && stat->state != 'X';
}

Result<UniqueFd> open_process(const ProcessId& id) {
  if (id.pid <= 0) return gone(id.pid);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, id.pid, 0)));
  if (!pidfd) {
    if (errno == ESRCH) return gone(id.pid);
    return fail_errno("open process " + std::to_string(id.pid));
  }
  // The descriptor is of the process that had the pid at that moment. If it has not ended after the start time was
  // read, the start time is its own.
  auto now = identify(id.pid);
  if (!now || now->start_time != id.start_time || has_ended(pidfd)) return gone(id.pid);
  return pidfd;
}

Result<UniqueFd> open_root_of(pid_t pid) {
  return open_file("/proc/" + std::to_string(pid) + "/root", O_RDONLY | O_DIRECTORY);
}

Result<> wait_exit(const UniqueFd& pidfd, std::optional<std::chrono::milliseconds> timeout) {
  using Clock = std::chrono::steady_clock;
  auto deadline = Clock::now() + timeout.value_or(std::chrono::milliseconds(0));
  for (;;) {
    int wait = -1;
    if (timeout) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      wait = left > 0 ? static_cast<int>(std::min<long long>(left, 1 << 30)) : 0;
    }
    pollfd p{pidfd.get(), POLLIN, 0};
    int n = ::poll(&p, 1, wait);
    if (n > 0) break;
    if (n == 0 && Clock::now() >= deadline) return fail(Code::exec_timeout, "the process did not end in time");
    if (n < 0 && errno != EINTR) return fail_errno("wait for a process");
  }
  // Where it is our own child nobody else reaps it.
  (void)::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), nullptr, WEXITED | WNOHANG | __WALL);
  return {};
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Ending all processes of a container and taking its groups away.
#include "libvz/kernel/cgroup.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/signal.h"
#include "libvz/kernel/systemd.h"

namespace vz {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kKillTimeout = std::chrono::seconds(20);

// A pid that was read from cgroup.procs may be somebody else's by now. The pidfd is opened first: if /proc/PID then
// still names our scope, the pidfd is either that process or one that is already dead.
UniqueFd open_member(pid_t pid, const std::string& scope) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return {};
  auto groups = read_file("/proc/" + std::to_string(pid) + "/cgroup");
  if (!groups || groups->find("/" + scope + "/") == std::string::npos) return {};
  return fd;
}

void wait_any(const std::map<pid_t, UniqueFd>& killed) {
  std::vector<pollfd> fds;
  for (const auto& [pid, fd] : killed) {
    fds.push_back({fd.get(), POLLIN, 0});
    if (fds.size() == 256) break;
  }
  (void)::poll(fds.data(), fds.size(), 20);  // also covers members of a group whose pids are not visible to us
}

std::string scope_of(const std::string& ct_path) {
  auto end = ct_path.rfind("/ct");
  auto begin = ct_path.rfind('/', end - 1);
  return ct_path.substr(begin + 1, end - begin - 1);
}

}  // namespace

Result<> Cgroups::kill() const {
  const std::string scope = scope_of(unified_ct_ ? unified_path_ : dirs_.front().path);
  // Atomic against forks (Linux 5.14), frozen or not. What is left for the loop is v1 and older kernels.
  if (unified_ct_) (void)write_kernel_file_at(unified_ct_.get(), "cgroup.kill", "1");
  if (!populated()) return {};
  // Nothing forks any more, so that the loop sees the end of a fork bomb.
  if (int fd = ct_fd(Controller::pids); fd >= 0) (void)write_kernel_file_at(fd, "pids.max", "0");
  std::map<pid_t, UniqueFd> killed;
  for (const auto deadline = Clock::now() + kKillTimeout; Clock::now() < deadline;) {
    auto alive = VZ_TRY(pids());
    if (alive.empty() && !populated()) return {};
    std::erase_if(killed, [&](const auto& k) { return !std::binary_search(alive.begin(), alive.end(), k.first); });
    for (pid_t pid : alive) {
      if (killed.contains(pid)) continue;
      UniqueFd fd = open_member(pid, scope);
      if (!fd) continue;
      (void)send_signal(fd, SIGKILL);
      if (killed.size() < 512) killed.emplace(pid, std::move(fd));  // fds are limited; the rest is signalled again
    }
    // A task in the v1 freezer dies when it is thawed.
    if (int fd = ct_fd(Controller::freezer); fd >= 0 && !unified_ct_)
      (void)write_kernel_file_at(fd, "freezer.state", "THAWED");
    wait_any(killed);
  }
  auto alive = VZ_TRY(pids());
  return fail(Error(Code::stop_failed, std::to_string(alive.size()) + " processes in " + scope +
                                           " do not die, the first is " +
                                           (alive.empty() ? std::string("unknown") : std::to_string(alive.front())))
                  .with_hint("they wait in the kernel, see /proc/PID/stack; the next stop or destroy tries again"));
}

Result<> Cgroups::remove(const CgroupHost& host, Ctid id) {
  if (!present(host, id)) return {};
  if (auto groups = open(host, id)) {
    if (groups->unified_ct_) (void)write_kernel_file_at(groups->unified_ct_.get(), "cgroup.freeze", "0");
    VZ_TRY(groups->kill());
  }
  Result<> result;
  for (const auto& h : hierarchies(host)) {
    auto slice = open_group(AT_FDCWD, h.path + "/" + kSlice);
    if (!slice) continue;
    auto removed = remove_group(slice->get(), scope_name(id));
    // EBUSY of the scope itself: a process that somebody put beside ct, or one not yet reaped; systemd takes it from
    // here.
    if (!removed && result && !(host.systemd_manages && removed.error().sys_errno() == EBUSY))
      result = fail(std::move(removed).error().context(h.path + "/" + kSlice));
  }
  if (host.systemd_manages) (void)stop_unit(scope_name(id));
  return result;
}

}  // namespace vz

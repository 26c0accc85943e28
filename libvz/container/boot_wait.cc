// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/boot_wait.h"

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// By the executable, right from the exec on: comm says "init" until systemd renames itself. Only a hint, the container
// decides what the file is.
bool init_is_systemd(const State& state) {
  auto exe = read_link(fmt::format("/proc/{}/exe", state.init.pid));
  return exe && exe->ends_with("/systemd");
}

}  // namespace

Result<> wait_booted(Context& ct, const State& state, const UniqueFd& pidfd, std::chrono::seconds timeout) {
  using clock = std::chrono::steady_clock;
  auto deadline = clock::now() + timeout;
  auto cgroups = VZ_TRY(Cgroups::open(VZ_TRY(CgroupHost::probe()), ct.id));
  auto null = VZ_TRY(open_file("/dev/null", O_RDWR));
  EnterSpec spec;
  spec.init_pidfd = &pidfd;
  spec.cgroups = &cgroups;
  spec.sandbox = {state.capabilities, state.nesting, true};
  // "offline" and a refused connection exit like "degraded" does: only the words tell.
  spec.argv = {"/bin/sh", "-c", "case $(systemctl is-system-running --wait) in running|degraded) ;; *) exit 1 ;; esac"};
  spec.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  for (int& fd : spec.stdio) fd = null.get();
  // Early in the boot systemctl finds no manager to talk to and fails at once: then, and only then, look again.
  while (clock::now() < deadline) {
    if (wait_exit(pidfd, std::chrono::milliseconds(50)))
      return fail(Code::wait_failed, "Container wait failed - it ended during its start");
    if (ct.reporter.cancelled())
      return fail(Code::wait_failed, "Container wait failed - interrupted, it goes on booting");
    if (!init_is_systemd(state)) return {};
    spec.timeout = std::chrono::duration_cast<std::chrono::seconds>(deadline - clock::now()) + std::chrono::seconds(1);
    auto status = run_inside(spec);
    if (!status && status.error().code() == Code::exec_timeout) break;
    if (status && *status == 0) return {};
  }
  return fail(Code::wait_failed, "Container wait failed - timeout expired");
}

}  // namespace vz

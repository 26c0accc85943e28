// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/boot_wait.h"

#include <fcntl.h>

#include "libvz/container/running.h"
#include "libvz/kernel/file.h"

namespace vz {

Result<> wait_booted(Context& ct, const State& state, const UniqueFd& pidfd, std::chrono::seconds timeout) {
  using clock = std::chrono::steady_clock;
  auto deadline = clock::now() + timeout;
  auto null = VZ_TRY(open_file("/dev/null", O_RDWR));
  Running running{state, pidfd.dup(), VZ_TRY(Cgroups::open(VZ_TRY(CgroupHost::probe()), ct.id))};
  EnterSpec spec = quiet_enter_spec(running, null);
  // "offline" and a refused connection exit like "degraded" does: only the words tell.
  spec.argv = {"/bin/sh", "-c", "case $(systemctl is-system-running --wait) in running|degraded) ;; *) exit 1 ;; esac"};
  spec.env.push_back("LC_ALL=C");
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

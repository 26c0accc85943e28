// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/running.h"

#include <fmt/format.h>

#include "libvz/kernel/console.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

QuotaCalls quota_calls(const State& state) {
  if (!state.user_quota) return QuotaCalls::refused;
  return state.native_quota ? QuotaCalls::native : QuotaCalls::asked;
}

}  // namespace

std::vector<std::string> guest_environment() { return {"HOME=/", "TERM=linux", std::string("PATH=") + kGuestPath}; }

Result<Running> open_running(const Host& host, Ctid id) {
  auto state = VZ_TRY(running_state(host, id));
  if (!state)
    return fail(Error(Code::not_running, "Container is not running").with_hint("`vzctl start " + id.str() + "`"));
  auto pidfd = VZ_TRY(open_process(state->init));
  auto cgroups = VZ_TRY(Cgroups::open(VZ_TRY(CgroupHost::probe()), id));
  return Running{*std::move(state), std::move(pidfd), std::move(cgroups), host.paths().run};
}

EnterSpec enter_spec(const Running& running) {
  EnterSpec spec;
  spec.init_pidfd = &running.pidfd;
  spec.cgroups = &running.cgroups;
  spec.sandbox = {running.state.capabilities, running.state.nesting, true, quota_calls(running.state)};
  // Without vzd the listener is closed here, and quotactl(2) is ENOSYS.
  spec.on_listener = [&running](UniqueFd listener) { (void)vzd_quota(running.run_dir, running.state.id, listener); };
  spec.env = guest_environment();
  return spec;
}

EnterSpec quiet_enter_spec(const Running& running, const UniqueFd& null) {
  EnterSpec spec = enter_spec(running);
  for (int& fd : spec.stdio) fd = null.get();
  spec.hand_signals_back = true;             // the user interrupts us, not what we run
  spec.sandbox.quota = QuotaCalls::refused;  // our own questions have nothing to do with quotas
  return spec;
}

bool init_is_systemd(const State& state) {
  auto exe = read_link(fmt::format("/proc/{}/exe", state.init.pid));
  return exe && exe->ends_with("/systemd");
}

}  // namespace vz

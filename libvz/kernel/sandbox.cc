// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/sandbox.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include <linux/capability.h>
#include <linux/keyctl.h>

namespace vz {

Result<SandboxPlan> plan_sandbox(const Sandbox& sandbox) {
  SandboxPlan plan;
  plan.capabilities = sandbox.capabilities;
  if (!sandbox.seccomp) return plan;
  plan.has_listener = sandbox.quota == QuotaCalls::asked;
  plan.seccomp = VZ_TRY(compile_seccomp(sandbox.nesting, sandbox.quota));
  return plan;
}

int become_root() {
  // The kernel's calls: glibc's wrappers signal the other threads of a process that this child is a copy of.
  if (::syscall(SYS_setgroups, 0, nullptr) < 0) return -1;
  if (::syscall(SYS_setresgid, 0, 0, 0) < 0) return -1;
  if (::syscall(SYS_setresuid, 0, 0, 0) < 0) return -1;
  // The administrator's login keyring must not be possessed inside; a kernel without keyrings is fine.
  (void)::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  return 0;
}

void reset_signals() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < _NSIG; ++signal) (void)::sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
}

int enter_sandbox(const SandboxPlan& plan, int* listener) {
  for (unsigned cap = 0; cap < 64; ++cap) {
    if (plan.capabilities >> cap & 1) continue;
    if (::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
      if (errno == EINVAL) break;  // past the kernel's last capability
      return -1;
    }
  }
  return plan.seccomp.empty() ? 0 : load_seccomp(plan.seccomp, plan.has_listener ? listener : nullptr);
}

}  // namespace vz

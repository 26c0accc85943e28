// SPDX-License-Identifier: GPL-2.0-or-later
// The filter is loaded into a child under no_new_privs, which needs no privilege, and asked there.
#include "libvz/kernel/seccomp.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vz {
namespace {

constexpr int kNotLoaded = 255;

// errno of `call` under the filter, 0 when it succeeded.
int errno_under(const SeccompProgram& program, const std::function<long()>& call) {
  pid_t pid = ::fork();
  if (pid == 0) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || load_seccomp(program) < 0) ::_exit(kNotLoaded);
    ::_exit(call() < 0 ? errno : 0);
  }
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

SeccompProgram program(bool nesting) {
  auto p = compile_seccomp(nesting);
  EXPECT_TRUE(p) << p.error().message();
  return p ? *p : SeccompProgram();
}

long setns_type(int type) { return ::syscall(SYS_setns, -1, type); }
// With an address that cannot be read: EFAULT proves that the filter let it through to the kernel.
long clone3_call() { return ::syscall(SYS_clone3, nullptr, 64); }

struct Case {
  const char* name;
  std::function<long()> call;
  int strict, nesting;  // errno
};

class Filter : public testing::TestWithParam<Case> {};

TEST_P(Filter, Answers) {
  EXPECT_EQ(errno_under(program(false), GetParam().call), GetParam().strict) << GetParam().name;
  EXPECT_EQ(errno_under(program(true), GetParam().call), GetParam().nesting) << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(
    Calls, Filter,
    testing::Values(
        Case{"getppid", [] { return ::syscall(SYS_getppid); }, 0, 0},
        Case{"setns without a type", [] { return setns_type(0); }, EBADF, EBADF},
        Case{"setns mnt", [] { return setns_type(CLONE_NEWNS); }, EBADF, EBADF},
        Case{"setns net", [] { return setns_type(CLONE_NEWNET); }, EBADF, EBADF},
        Case{"setns uts", [] { return setns_type(CLONE_NEWUTS); }, EPERM, EBADF},
        Case{"setns user", [] { return setns_type(CLONE_NEWUSER); }, EPERM, EBADF},
        Case{"setns of several", [] { return setns_type(CLONE_NEWNS | CLONE_NEWPID); }, EPERM, EBADF},
        Case{"unshare nothing", [] { return ::syscall(SYS_unshare, 0); }, 0, 0},
        // An invalid flag beside it: the kernel's EINVAL needs no privilege, the filter's EPERM comes before.
        Case{"unshare ipc", [] { return ::syscall(SYS_unshare, CLONE_NEWIPC | 1); }, EPERM, EINVAL},
        Case{"unshare cgroup", [] { return ::syscall(SYS_unshare, CLONE_NEWCGROUP | 1); }, EPERM, EINVAL},
        Case{"unshare time", [] { return ::syscall(SYS_unshare, 0x80 | 1); }, EPERM, EINVAL},
        Case{"unshare mnt", [] { return ::syscall(SYS_unshare, CLONE_NEWNS | 1); }, EINVAL, EINVAL},
        // CLONE_THREAD without CLONE_SIGHAND is invalid.
        Case{"clone user", [] { return ::syscall(SYS_clone, CLONE_NEWUSER | CLONE_THREAD, 0, 0, 0, 0); }, EPERM,
             EINVAL},
        Case{"clone plain", [] { return ::syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0); }, EINVAL, EINVAL},
        Case{"clone3", clone3_call, ENOSYS, EFAULT},
        Case{"keyctl", [] { return ::syscall(SYS_keyctl, 9999); }, ENOSYS, EOPNOTSUPP},
        Case{"bpf", [] { return ::syscall(SYS_bpf, 9999, 0, 0); }, EPERM, EPERM},
        Case{"syslog", [] { return ::syscall(SYS_syslog, 10, nullptr, 0); }, EPERM, EPERM},
        Case{"init_module", [] { return ::syscall(SYS_init_module, nullptr, 0, nullptr); }, EPERM, EPERM},
        Case{"open_by_handle_at", [] { return ::syscall(SYS_open_by_handle_at, -1, nullptr, 0); }, EPERM, EPERM},
        Case{"clock_settime", [] { return ::syscall(SYS_clock_settime, 0, nullptr); }, EPERM, EPERM},
        // reboot(2) ends a container: it must reach the kernel, which refuses the magic numbers.
        Case{"reboot", [] { return ::syscall(SYS_reboot, 0, 0, 0, nullptr); }, ::geteuid() == 0 ? EINVAL : EPERM,
             ::geteuid() == 0 ? EINVAL : EPERM}));

TEST(Seccomp, IoUringLooksAbsent) {
  EXPECT_EQ(errno_under(program(false), [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }), ENOSYS);
}

TEST(Seccomp, QuotaCallsReachTheKernelOnlyWhereItAnswersThem) {
  auto ask = [] { return ::syscall(SYS_quotactl_fd, -1, 0, 0, nullptr); };
  auto native = compile_seccomp(false, QuotaCalls::native);
  ASSERT_TRUE(native) << native.error().message();
  EXPECT_EQ(errno_under(program(false), ask), EPERM);
  EXPECT_EQ(errno_under(*native, ask), EBADF);
}

#if defined(__x86_64__)
TEST(Seccomp, TheX32DoorIsClosedToo) {
  constexpr long kX32 = 0x40000000;
  int got = errno_under(program(false), [] { return ::syscall(kX32 + SYS_setns, -1, CLONE_NEWUSER); });
  EXPECT_TRUE(got == EPERM || got == ENOSYS) << got;
}
#endif

TEST(Seccomp, ProgramIsSmall) {
  auto p = program(false);
  EXPECT_GT(p.size(), 10u);
  EXPECT_LT(p.size(), 1024u);  // it runs for every system call
}

}  // namespace
}  // namespace vz

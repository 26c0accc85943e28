// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/seccomp.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>

#include <linux/seccomp.h>

#include <seccomp.h>

#include "libvz/base/fd.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

struct ContextDelete {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, ContextDelete>;

struct Rule {
  const char* syscall;
  int error;
};

// Refused to every container. The kernel itself refuses nearly all of them to a user namespace: this takes the code
// behind them out of reach.
constexpr Rule kHostRules[] = {
    {"kexec_load", EPERM},
    {"kexec_file_load", EPERM},
    {"init_module", EPERM},
    {"finit_module", EPERM},
    {"delete_module", EPERM},
    {"create_module", ENOSYS},
    {"bpf", EPERM},
    {"perf_event_open", EPERM},
    {"open_by_handle_at", EPERM},  // systemd inside falls back to paths
    {"swapon", EPERM},
    {"swapoff", EPERM},
    {"syslog", EPERM},
    {"userfaultfd", EPERM},
    {"iopl", EPERM},
    {"ioperm", EPERM},
    {"lookup_dcookie", EPERM},
    {"acct", EPERM},
    {"nfsservctl", ENOSYS},
    {"settimeofday", EPERM},  // adjtimex stays: timedatectl reads with it, and the kernel refuses to set
    {"clock_settime", EPERM},
    {"clock_settime64", EPERM},
    {"stime", EPERM},
};

constexpr Rule kQuotaRules[] = {{"quotactl", EPERM}, {"quotactl_fd", EPERM}};

// Refused unless nesting is on: what CRIU cannot dump (Documentation: migratable by construction).
constexpr Rule kMigratableRules[] = {
    {"clone3", ENOSYS},  // its flags lie in memory, where no filter sees them; glibc falls back to clone
    {"io_uring_setup", ENOSYS}, {"io_uring_enter", ENOSYS}, {"io_uring_register", ENOSYS}, {"add_key", ENOSYS},
    {"request_key", ENOSYS},    {"keyctl", ENOSYS},         {"memfd_secret", ENOSYS},
};

// Mount and network namespaces are dumped by CRIU, and half of systemd's services want them.
constexpr std::uint64_t kNamespaces[] = {CLONE_NEWUTS, CLONE_NEWIPC,    CLONE_NEWUSER,
                                         CLONE_NEWPID, CLONE_NEWCGROUP, 0x80 /* CLONE_NEWTIME */};

Result<> check(int rc, std::string_view what) {
  if (rc < 0) return fail(Error::from_errno(-rc, "seccomp: " + std::string(what)));
  return {};
}

// Names that libseccomp or one architecture does not know are skipped: the kernel has no such call either.
Result<> add_rules(scmp_filter_ctx context, std::span<const Rule> rules, bool ask = false) {
  for (const Rule& rule : rules) {
    int number = seccomp_syscall_resolve_name(rule.syscall);
    if (number == __NR_SCMP_ERROR) continue;
    int rc = seccomp_rule_add(context, ask ? SCMP_ACT_NOTIFY : SCMP_ACT_ERRNO(rule.error), number, 0);
    if (rc == -EDOM || rc == -EFAULT) continue;
    VZ_TRY(check(rc, rule.syscall));
  }
  return {};
}

Result<> add_namespace_rules(scmp_filter_ctx context) {
  for (std::uint64_t flag : kNamespaces) {
    // CLONE_NEWTIME is in the byte of clone's exit signal and means nothing there.
    if (flag != 0x80)
      VZ_TRY(check(
          seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)),
          "clone"));
    VZ_TRY(check(
        seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)),
        "unshare"));
    // setns(fd, 0) stays: without the calls above there is no foreign namespace to open.
    VZ_TRY(check(
        seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(setns), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, flag, flag)),
        "setns"));
  }
  return {};
}

Result<> add_architectures(scmp_filter_ctx context) {
#if defined(__x86_64__)
  constexpr std::uint32_t others[] = {SCMP_ARCH_X86, SCMP_ARCH_X32};
#elif defined(__aarch64__)
  constexpr std::uint32_t others[] = {SCMP_ARCH_ARM};
#else
  constexpr std::uint32_t others[] = {SCMP_ARCH_NATIVE};
#endif
  for (std::uint32_t arch : others) {
    int rc = seccomp_arch_add(context, arch);
    if (rc != -EEXIST) VZ_TRY(check(rc, "add an architecture"));
  }
  return {};
}

Result<SeccompProgram> export_program(scmp_filter_ctx context) {
  UniqueFd memory(::memfd_create("vz-seccomp", MFD_CLOEXEC));
  if (!memory) return fail_errno("memfd_create");
  VZ_TRY(check(seccomp_export_bpf(context, memory.get()), "export"));
  off_t size = ::lseek(memory.get(), 0, SEEK_END);
  SeccompProgram program(static_cast<std::size_t>(size) / sizeof(sock_filter));
  if (::pread(memory.get(), program.data(), static_cast<std::size_t>(size), 0) != size)
    return fail_errno("read the seccomp program");
  return program;
}

}  // namespace

Result<SeccompProgram> compile_seccomp(bool nesting, QuotaCalls quota) {
  Context context(seccomp_init(SCMP_ACT_ALLOW));
  if (!context) return fail(Code::system, "seccomp: cannot create a filter");
  // A foreign architecture (there is none on a 64-bit x86 or ARM kernel) is refused, not killed.
  VZ_TRY(check(seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)), "set the default"));
  (void)seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // binary tree; since libseccomp 2.5
  VZ_TRY(add_architectures(context.get()));
  VZ_TRY(add_rules(context.get(), kHostRules));
  if (quota != QuotaCalls::native) VZ_TRY(add_rules(context.get(), kQuotaRules, quota == QuotaCalls::asked));
  if (!nesting) {
    VZ_TRY(add_rules(context.get(), kMigratableRules));
    VZ_TRY(add_namespace_rules(context.get()));
  }
  return export_program(context.get());
}

int load_seccomp(const SeccompProgram& program, int* listener) {
  sock_fprog fprog{};
  fprog.len = static_cast<unsigned short>(program.size());
  fprog.filter = const_cast<sock_filter*>(program.data());
  unsigned flags = listener ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
  int rc = static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &fprog));
  if (!listener || rc < 0) return rc;
  *listener = rc;
  return 0;
}

}  // namespace vz

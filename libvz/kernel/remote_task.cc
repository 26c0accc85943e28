// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/remote_task.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/fd_passing.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/job.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

namespace vz {

namespace {

constexpr auto kStopTimeout = std::chrono::milliseconds(200);
constexpr auto kPause = std::chrono::microseconds(50);
constexpr int kGetSignalMask = 0x420a, kSetSignalMask = 0x420b;  // PTRACE_GETSIGMASK, PTRACE_SETSIGMASK
constexpr unsigned long kSuspendSeccomp = 1UL << 21;             // PTRACE_O_SUSPEND_SECCOMP

bool trace(int request, pid_t pid, unsigned long address, void* data) {
  return ptrace(static_cast<__ptrace_request>(request), pid, address, data) == 0;
}

void* as_pointer(unsigned long value) { return reinterpret_cast<void*>(value); }

Result<std::vector<pid_t>> threads_of(pid_t pid) {
  std::vector<pid_t> out;
  for (const auto& name : VZ_TRY(list_dir(fmt::format("/proc/{}/task", pid))))
    if (auto number = parse_u64(name)) out.push_back(static_cast<pid_t>(*number));
  return out;
}

// Until it has stopped as it was told to: a signal that comes first is delivered.
Result<> wait_stopped(pid_t thread) {
  const auto end = std::chrono::steady_clock::now() + kStopTimeout;
  for (;;) {
    int status = 0;
    const pid_t got = waitpid(thread, &status, __WALL | WNOHANG);
    if (got < 0) return fail_errno(fmt::format("wait for thread {}", thread));
    if (got == thread && (WIFEXITED(status) || WIFSIGNALED(status)))
      return fail(Code::not_running, fmt::format("thread {} has ended", thread));
    if (got == thread && status >> 16 == PTRACE_EVENT_STOP) return {};
    if (got == thread) (void)trace(PTRACE_CONT, thread, 0, as_pointer(static_cast<unsigned long>(WSTOPSIG(status))));
    if (std::chrono::steady_clock::now() > end)
      return fail(Code::locked, fmt::format("thread {} does not stop", thread));
    if (got == 0) std::this_thread::sleep_for(kPause);
  }
}

Result<> seize(pid_t thread) {
  // Without CAP_SYS_ADMIN over it, or when we are filtered ourselves: its filter decides.
  if (!trace(PTRACE_SEIZE, thread, 0, as_pointer(kSuspendSeccomp)) && !trace(PTRACE_SEIZE, thread, 0, nullptr))
    return fail(Error::from_errno(errno, fmt::format("trace thread {}", thread)).with_code(Code::locked));
  if (!trace(PTRACE_INTERRUPT, thread, 0, nullptr)) return fail_errno(fmt::format("stop thread {}", thread));
  return wait_stopped(thread);
}

}  // namespace

Result<RemoteTask> RemoteTask::stop(pid_t pid) {
  RemoteTask task(pid);
  VZ_TRY(task.find_entry());
  VZ_TRY(task.stop_threads());
  return task;
}

// Threads that are still running may make more of them.
Result<> RemoteTask::stop_threads() {
  for (bool found = true; found;) {
    found = false;
    for (pid_t thread : VZ_TRY(threads_of(pid_))) {
      if (std::find(threads_.begin(), threads_.end(), thread) != threads_.end()) continue;
      auto stopped = seize(thread);
      if (!stopped && stopped.error().code() == Code::not_running && thread != pid_) continue;
      VZ_TRY(std::move(stopped));
      threads_.push_back(thread);
      found = true;
    }
  }
  return {};
}

RemoteTask::~RemoteTask() {
  for (pid_t thread : threads_) (void)trace(PTRACE_DETACH, thread, 0, nullptr);
}

// It stands still, so the number is still its own.
Result<UniqueFd> RemoteTask::fetch(long fd) const {
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (!process) return fail_errno(fmt::format("process {}", pid_));
  UniqueFd here(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), static_cast<int>(fd), 0)));
  if (!here) return fail_errno("pidfd_getfd");
  return here;
}

#ifdef __x86_64__

namespace {

constexpr unsigned long kUserCode64 = 0x33;
constexpr unsigned long kInstructionLength = 2;
// What a system call that was interrupted leaves in rax, for the kernel alone.
constexpr long kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514, kRestartBlock = -516;

// The kernel looks at rax only when it comes from the stop that interrupted the call: from any other the call must be
// made again by hand.
void make_restart(user_regs_struct& regs) {
  if (static_cast<long>(regs.orig_rax) < 0) return;
  const long result = static_cast<long>(regs.rax);
  if (result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand) {
    regs.rax = regs.orig_rax;
  } else if (result == kRestartBlock) {
    regs.rax = SYS_restart_syscall;
  } else {
    regs.orig_rax = static_cast<unsigned long long>(-1);
    return;
  }
  regs.rip -= kInstructionLength;
  regs.orig_rax = static_cast<unsigned long long>(-1);
}

}  // namespace

Result<> RemoteTask::find_entry() {
  auto maps = VZ_TRY(read_file(fmt::format("/proc/{}/maps", pid_)));
  for (const auto& line : split(maps, '\n')) {
    if (!std::string_view(line).ends_with("[vdso]")) continue;
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) != 2) continue;
    UniqueFd memory = VZ_TRY(open_file(fmt::format("/proc/{}/mem", pid_), O_RDONLY));
    auto code = VZ_TRY(read_at(memory.get(), begin, end - begin));
    const auto at = code.find("\x0f\x05");
    if (at == code.npos) break;
    entry_ = begin + at;
    return {};
  }
  return fail(Code::unsupported, fmt::format("process {} has no vDSO to call from", pid_));
}

Result<long> RemoteTask::call(long number, const std::array<unsigned long, 6>& arguments) {
  user_regs_struct before{};
  std::uint64_t mask = 0;
  const std::uint64_t all = ~std::uint64_t{0};
  if (!trace(PTRACE_GETREGS, pid_, 0, &before) || !trace(kGetSignalMask, pid_, sizeof mask, &mask))
    return fail_errno(fmt::format("registers of process {}", pid_));
  if (before.cs != kUserCode64) return fail(Code::unsupported, fmt::format("process {} is no 64-bit one", pid_));
  user_regs_struct regs = before;
  regs.rip = entry_;
  regs.rax = static_cast<unsigned long long>(number);
  regs.orig_rax = static_cast<unsigned long long>(-1);
  regs.rdi = arguments[0], regs.rsi = arguments[1], regs.rdx = arguments[2];
  regs.r10 = arguments[3], regs.r8 = arguments[4], regs.r9 = arguments[5];
  make_restart(before);
  bool done = trace(kSetSignalMask, pid_, sizeof all, const_cast<std::uint64_t*>(&all)) &&
              trace(PTRACE_SETREGS, pid_, 0, &regs) && trace(PTRACE_SINGLESTEP, pid_, 0, nullptr);
  int status = 0;
  done = done && waitpid(pid_, &status, __WALL) == pid_ && WIFSTOPPED(status);
  done = done && trace(PTRACE_GETREGS, pid_, 0, &regs);
  const bool restored = trace(PTRACE_SETREGS, pid_, 0, &before) && trace(kSetSignalMask, pid_, sizeof mask, &mask);
  if (!done || !restored) return fail_errno(fmt::format("system call in process {}", pid_));
  const long result = static_cast<long>(regs.rax);
  if (result < 0 && result > -4096)
    return fail(
        Error::from_errno(static_cast<int>(-result), fmt::format("system call {} in process {}", number, pid_)));
  return result;
}

#else

Result<> RemoteTask::find_entry() {
  return fail(Code::unsupported, "calls in other processes are not known on this machine's architecture");
}
Result<long> RemoteTask::call(long, const std::array<unsigned long, 6>&) {
  return find_entry().map([] { return 0L; });
}

#endif

namespace {

// All its threads stand still: nobody in it sees the descriptor, and no fork takes it along.
Result<UniqueFd> take_userfaultfd(pid_t pid) {
  auto task = VZ_TRY(RemoteTask::stop(pid));
  const unsigned long flags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
  const long there = VZ_TRY(task.call(SYS_userfaultfd, {flags}));
  auto here = task.fetch(there);
  VZ_TRY(task.call(SYS_close, {static_cast<unsigned long>(there)}));
  return here;
}

}  // namespace

Result<std::vector<UniqueFd>> take_userfaultfds(const std::vector<pid_t>& pids) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno("socketpair");
  UniqueFd ours(ends[0]), theirs(ends[1]);
  auto job = VZ_TRY(start_job([&] {
    (void)setsid();
    ours.reset();
    for (std::uint32_t i = 0; i < pids.size(); ++i)
      if (auto fd = take_userfaultfd(pids[i])) (void)send_value_with_fd(theirs.get(), i, fd->get());
    return 0;
  }));
  theirs.reset();
  std::vector<UniqueFd> out(pids.size());
  for (;;) {
    std::uint32_t index = 0;
    UniqueFd fd;
    if (receive_value_with_fd(ours.get(), &index, &fd) <= 0) break;
    if (index < out.size()) out[index] = std::move(fd);
  }
  (void)finish_job(job);
  return out;
}

}  // namespace vz

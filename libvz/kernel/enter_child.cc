// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>

#include <linux/close_range.h>

#include "libvz/kernel/child_channel.h"
#include "libvz/kernel/clone.h"
#include "libvz/kernel/enter_plan.h"
#include "libvz/kernel/pty.h"

namespace vz {

namespace {

constexpr int kNamespaces =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;

// A start makes no time namespace, but a restore does (its clocks go on). Kernels without CONFIG_TIME_NS know no such
// flag.
int join_namespaces(int init_pidfd) {
  const int joined = ::setns(init_pidfd, kNamespaces | CLONE_NEWTIME);
  return joined < 0 && errno == EINVAL ? ::setns(init_pidfd, kNamespaces) : joined;
}

class EnterChild {
 public:
  explicit EnterChild(const EnterPlan& plan) : plan_(plan) {}
  [[noreturn]] void run();

 private:
  [[noreturn]] void run_inside();
  [[noreturn]] void fail(EnterStep step) const;
  int check(int result, EnterStep step) const {
    if (result < 0) fail(step);
    return result;
  }
  void send(ChildMessage::Kind kind, int step, int fd) const;
  void take_pty();
  void take_stdio();

  const EnterPlan& plan_;
  int stdio_[3] = {-1, -1, -1};
};

void EnterChild::fail(EnterStep step) const {
  ChildMessage message;
  message.error = errno;
  message.step = static_cast<int>(step);
  (void)send_message(plan_.channel.get(), message);
  ::_exit(127);
}

void EnterChild::send(ChildMessage::Kind kind, int step, int fd) const {
  ChildMessage message;
  message.kind = kind;
  message.step = step;
  check(send_message(plan_.channel.get(), message, fd), EnterStep::report);
}

void EnterChild::run() {
  (void)::close(plan_.parent_channel.get());
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Nobody inside may trace this copy of vzctl or look at its files through /proc before it has become the command.
  (void)::prctl(PR_SET_DUMPABLE, 0);
  for (const auto& procs : plan_.v1_procs)
    check(static_cast<int>(::write(procs.get(), "0", 1)), EnterStep::join_cgroup);
  check(join_namespaces(plan_.init_pidfd), EnterStep::enter_namespaces);
  // The pid namespace holds for children only. CLONE_PARENT: the command is the caller's child and no process stays
  // between the two.
  CloneRequest request;
  request.flags = CLONE_PARENT;
  int pidfd = -1;
  pid_t pid = clone_process(request, &pidfd);
  check(pid, EnterStep::fork);
  if (pid == 0) run_inside();
  send(ChildMessage::descriptor, static_cast<int>(EnterDescriptor::process), pidfd);
  ::_exit(0);
}

void EnterChild::take_pty() {
  int master = -1, slave = -1;
  check(open_pty(&master, &slave), EnterStep::pty);
  check(::ioctl(slave, TIOCSCTTY, 0), EnterStep::pty);
  if (plan_.mode) (void)::tcsetattr(slave, TCSANOW, &*plan_.mode);
  if (plan_.size) (void)::ioctl(slave, TIOCSWINSZ, &*plan_.size);
  send(ChildMessage::descriptor, static_cast<int>(EnterDescriptor::pty), master);
  for (int& fd : stdio_) fd = slave;
}

// Sources may be 0..2 in any order: duplicates above them first.
void EnterChild::take_stdio() {
  for (int i = 0; i < 3; ++i) {
    int source = stdio_[i] >= 0 ? stdio_[i] : plan_.stdio[i];
    stdio_[i] = check(::fcntl(source, F_DUPFD_CLOEXEC, 3), EnterStep::stdio);
  }
  for (int i = 0; i < 3; ++i) check(::dup2(stdio_[i], i), EnterStep::stdio);
}

void EnterChild::run_inside() {
  check(become_root(), EnterStep::become_root);
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // of the caller; after the change of ids, which clears it
  // Out of the host's session: the administrator's terminal is not ours to control.
  check(::setsid(), EnterStep::session);
  if (plan_.pty) take_pty();
  take_stdio();
  reset_signals();
  (void)::umask(022);
  check(static_cast<int>(::syscall(SYS_close_range, 3, UINT_MAX, CLOSE_RANGE_CLOEXEC)), EnterStep::stdio);
  int listener = -1;
  check(enter_sandbox(plan_.sandbox, &listener), EnterStep::sandbox);
  if (listener >= 0) {
    send(ChildMessage::descriptor, static_cast<int>(EnterDescriptor::listener), listener);
    (void)::close(listener);
  }
  send(ChildMessage::executing, 0, -1);  // fails when the caller is gone already
  errno = plan_.exec.run();
  fail(EnterStep::execute);
}

}  // namespace

void run_enter_child(const EnterPlan& plan) { EnterChild(plan).run(); }

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// A container's init from clone3 to execve.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>

#include <linux/close_range.h>

#include "libvz/kernel/child_channel.h"
#include "libvz/kernel/init_plan.h"

namespace vz {

namespace {

void join_v1_cgroups(const InitPlan& plan, const InitReport& report) {
  // Opened by the parent: cgroup v1 checks the opener's credentials. "0" is the writer.
  for (const auto& procs : plan.v1_procs)
    report.check(static_cast<int>(::write(procs.get(), "0", 1)), InitStep::join_cgroup, "tasks");
}

// Returns when the parent lets us go; a parent that died has closed the channel.
void wait_for_parent(const InitPlan& plan, const InitReport& report) {
  ChildMessage message;
  ssize_t n;
  do n = ::recv(plan.channel.get(), &message, sizeof message, 0);
  while (n < 0 && errno == EINTR);
  if (n <= 0) ::_exit(1);
  if (message.kind != ChildMessage::go) {
    errno = EPROTO;
    report.fail(InitStep::wait);
  }
}

void set_names(const InitPlan& plan, const InitReport& report) {
  report.check(::sethostname(plan.hostname.data(), plan.hostname.size()), InitStep::hostname, plan.hostname.c_str());
  (void)::setdomainname("(none)", 6);
}

// Standard input and output on the console, as the kernel gives them to the first process: it becomes no controlling
// terminal, so that a getty inside can make it its own, and init gets no SIGHUP when the master is closed.
void take_console(const InitReport& report) {
  int tty = report.check(::open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC), InitStep::console, "/dev/console");
  for (int fd = 0; fd < 3; ++fd) report.check(::dup2(tty, fd), InitStep::console, "/dev/console");
}

}  // namespace

void InitReport::fail(InitStep step, const char* object) const {
  ChildMessage message;
  message.kind = ChildMessage::failed;
  message.error = errno;
  message.step = static_cast<int>(step);
  set_object(message, object);
  (void)send_message(channel_, message);
  ::_exit(1);
}

void InitReport::send(int kind, int step, int fd) const {
  ChildMessage message;
  message.kind = static_cast<ChildMessage::Kind>(kind);
  message.step = step;
  check(send_message(channel_, message, fd), InitStep::report);
}

void run_init_child(const InitPlan& plan) {
  const InitReport report(plan.channel.get());
  (void)::close(plan.parent_channel.get());
  join_v1_cgroups(plan, report);
  wait_for_parent(plan, report);

  report.check(become_root(), InitStep::become_root);
  // Only now is this process in all of its cgroups: they become the roots that the container sees. And what a new IPC
  // namespace creates (the root of its mqueue file system) belongs to the root that this process has just become.
  report.check(::unshare(CLONE_NEWCGROUP | CLONE_NEWIPC), InitStep::late_namespaces);
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // after the change of ids, which clears it
  report.check(::setsid(), InitStep::session);
  set_names(plan, report);

  int master = build_mount_tree(plan, report);
  take_console(report);
  report.send(ChildMessage::descriptor, static_cast<int>(InitDescriptor::console), master);

  reset_signals();
  (void)::umask(022);
  report.check(static_cast<int>(::syscall(SYS_close_range, 3, UINT_MAX, CLOSE_RANGE_CLOEXEC)), InitStep::execute);
  (void)::prctl(PR_SET_PDEATHSIG, 0);  // a container outlives the vzctl that started it
  int listener = -1;
  report.check(enter_sandbox(plan.sandbox, &listener), InitStep::sandbox);
  if (listener >= 0) {
    report.send(ChildMessage::descriptor, static_cast<int>(InitDescriptor::listener), listener);
    (void)::close(listener);
  }
  report.send(ChildMessage::executing, 0, -1);
  errno = plan.exec.run();
  report.fail(InitStep::execute);
}

}  // namespace vz

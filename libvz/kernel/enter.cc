// SPDX-License-Identifier: LGPL-2.1-or-later
// The caller's side of a command inside a container.
#include <sys/syscall.h>
#include <unistd.h>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>

#include "libvz/base/text.h"
#include "libvz/kernel/child_channel.h"
#include "libvz/kernel/clone.h"
#include "libvz/kernel/enter_plan.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/pty.h"
#include "libvz/kernel/terminal.h"

namespace vz {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kStepTexts[] = {
    "join the container's cgroup",
    "enter the container's namespaces",
    "fork inside",
    "report to vzctl",
    "become root of the container",
    "create a session",
    "open a pty in the container",
    "set up standard input and output",
    "limit system calls and capabilities",
    "execute the command",
};
static_assert(std::size(kStepTexts) == static_cast<std::size_t>(EnterStep::count_));

constexpr int kNotExecutable = 126, kNotFound = 127;  // as shells say it

Result<EnterPlan> plan_enter(const EnterSpec& spec) {
  ExecPlan exec(spec.env);
  std::string path = env_value(spec.env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  exec.add_search(spec.argv, path);
  for (const auto& fallback : spec.fallbacks) {
    exec.next_choice();
    exec.add_search(fallback, path);
  }
  EnterPlan plan{.exec = std::move(exec)};
  plan.init_pidfd = spec.init_pidfd->get();
  std::copy(std::begin(spec.stdio), std::end(spec.stdio), plan.stdio);
  plan.pty = spec.pty;
  if (spec.pty) {
    plan.mode = terminal_mode(spec.stdio[0]);
    plan.size = terminal_size(spec.stdio[0]);
    if (!plan.size) plan.size = terminal_size(spec.stdio[1]);
  }
  plan.sandbox = VZ_TRY(plan_sandbox(spec.sandbox));
  if (spec.cgroups) plan.v1_procs = VZ_TRY(spec.cgroups->v1_procs());
  auto channel = VZ_TRY(ChildChannel::open());
  plan.channel = std::move(channel.child);
  plan.parent_channel = std::move(channel.parent);
  return plan;
}

// How long poll(2) may wait for the deadline, in milliseconds; -1: for ever, 0: it has passed.
int time_left(std::optional<Clock::time_point> deadline) {
  if (!deadline) return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, 1 << 30));
}

Error timed_out(const EnterSpec& spec) {
  return Error(Code::exec_timeout, "the command did not end within " + std::to_string(spec.timeout->count()) + " s");
}

// Waits for the next report. In a frozen container it never comes: the user's signals and his timeout must work.
Result<> await_report(const UniqueFd& channel, SignalGuard& signals, const EnterSpec& spec,
                      std::optional<Clock::time_point> deadline) {
  for (;;) {
    pollfd fds[2] = {{channel.get(), POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    int n = ::poll(fds, 2, time_left(deadline));
    if (n < 0 && errno != EINTR) return fail_errno("wait for the command");
    if (n == 0) return fail(timed_out(spec));
    if (n > 0 && fds[0].revents) return {};
    for (int signal; n > 0 && (signal = signals.next()) != 0;)
      if (signal != SIGWINCH && signal != SIGPIPE) return fail(Code::exec_failed, "interrupted");
  }
}

// What the children reported until execve.
struct Started {
  UniqueFd process, master, listener;
  bool executing = false;
  std::optional<ChildMessage> failure;
};

Result<> receive_start(const UniqueFd& channel, SignalGuard& signals, const EnterSpec& spec,
                       std::optional<Clock::time_point> deadline, Started& out) {
  for (;;) {
    VZ_TRY(await_report(channel, signals, spec, deadline));
    auto received = VZ_TRY(receive_message(channel.get()));
    if (!received) break;
    const ChildMessage& m = received->message;
    if (m.kind == ChildMessage::failed) out.failure = m;
    if (m.kind == ChildMessage::executing) out.executing = true;
    if (m.kind != ChildMessage::descriptor) continue;
    switch (static_cast<EnterDescriptor>(m.step)) {
      case EnterDescriptor::process:
        out.process = std::move(received->fd);
        break;
      case EnterDescriptor::pty:
        out.master = std::move(received->fd);
        break;
      case EnterDescriptor::listener:
        out.listener = std::move(received->fd);
        break;
    }
  }
  if (!out.failure && (!out.executing || !out.process))
    return fail(Error(Code::exec_failed, "the command was killed before it started")
                    .with_hint("is the container stopping, or out of memory or processes?"));
  return {};
}

Result<int> start_failure(const ChildMessage& message, const EnterSpec& spec) {
  auto step = static_cast<EnterStep>(message.step);
  if (step == EnterStep::execute) {
    if (message.error == ENOENT && spec.fallbacks.empty()) return kNotFound;
    if (message.error == ENOENT)
      return fail(Error(Code::bad_template, "the container has none of the programs that were asked for: " +
                                                (spec.argv.empty() ? "" : spec.argv[0]))
                      .with_hint("is it an empty or damaged system?"));
    if (message.error == EACCES || message.error == ENOEXEC || message.error == ENOTDIR || message.error == ELOOP ||
        message.error == EISDIR)
      return kNotExecutable;
  }
  if (step == EnterStep::enter_namespaces && message.error == ESRCH)
    return fail(Code::not_running, "the container has just stopped");
  std::string what = message.step >= 0 && message.step < static_cast<int>(EnterStep::count_) ? kStepTexts[message.step]
                                                                                             : "start the command";
  Error e = Error::from_errno(message.error, what, Code::exec_failed);
  if (message.error == EAGAIN || message.error == ENOMEM)
    return fail(std::move(e).with_hint("the container has reached its limit of processes or memory"));
  return fail(std::move(e));
}

int send_process_signal(const UniqueFd& pidfd, int signal, bool group) {
  constexpr unsigned kProcessGroup = 1u << 2;  // PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
  if (group && ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, kProcessGroup) == 0) return 0;
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0));
}

Result<pid_t> pid_of(const UniqueFd& pidfd) {
  std::string text = VZ_TRY(read_file("/proc/self/fdinfo/" + std::to_string(pidfd.get())));
  for (const auto& line : split(text, '\n'))
    if (line.rfind("Pid:", 0) == 0) return static_cast<pid_t>(VZ_TRY(parse_u64(trim(line.substr(4)))));
  return fail(Code::system, "a pidfd without a pid");
}

// Kills without waiting for the end: a frozen process of cgroup v1 dies when it is thawed, not before.
void abandon(Child& child) {
  UniqueFd pidfd = child.disown();
  if (pidfd) (void)send_process_signal(pidfd, SIGKILL, false);
}

// Kills the command's whole session. Its leader is unreaped, so that the session's id cannot mean another one.
void kill_session(const UniqueFd& leader, const Cgroups* cgroups) {
  (void)send_process_signal(leader, SIGKILL, true);
  auto session = pid_of(leader);
  if (!session || !cgroups) return;
  for (bool found = true, again = true; found && again; again = !again) {
    found = false;
    auto pids = cgroups->pids();
    if (!pids) return;
    for (pid_t pid : *pids) {
      UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
      if (!fd || ::getsid(pid) != *session) continue;
      found = send_process_signal(fd, SIGKILL, false) == 0 || found;
    }
  }
}

// Runs the loop until the command has ended (true) or the deadline has passed (false).
Result<bool> attend(const UniqueFd& process, std::optional<PtyProxy>& proxy, SignalGuard& signals,
                    std::optional<Clock::time_point> deadline) {
  for (;;) {
    pollfd fds[2 + PtyProxy::kFds] = {{process.get(), POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    int wait = proxy ? proxy->prepare(fds + 2) : -1;
    int left = time_left(deadline);
    if (left == 0) return false;
    if (left > 0) wait = wait < 0 ? left : std::min(wait, left);
    int n = ::poll(fds, proxy ? std::size(fds) : 2, wait);
    if (n < 0 && errno != EINTR) return fail_errno("wait for the command");
    if (n <= 0) continue;
    for (int signal; fds[1].revents && (signal = signals.next()) != 0;) {
      if (signal == SIGWINCH && proxy) proxy->copy_window_size();
      if (signal != SIGWINCH && signal != SIGPIPE) (void)send_process_signal(process, signal, true);
    }
    if (proxy) proxy->handle(fds + 2);
    if (fds[0].revents) return true;
  }
}

}  // namespace

namespace {

Result<int> run_guarded(const EnterSpec& spec, SignalGuard& signals) {
  auto plan = VZ_TRY(plan_enter(spec));
  UniqueFd cgroup;
  if (spec.cgroups && spec.cgroups->init_fd() >= 0) cgroup = VZ_TRY(spec.cgroups->exec_fd());
  std::optional<Clock::time_point> deadline;
  if (spec.timeout) deadline = Clock::now() + *spec.timeout;

  CloneRequest request;
  request.cgroup_fd = cgroup.get();
  int pidfd = -1;
  pid_t pid = clone_process(request, &pidfd);
  if (pid < 0) return fail_errno("fork into the container's cgroup", Code::exec_failed);
  if (pid == 0) run_enter_child(plan);
  Child helper(pid, UniqueFd(pidfd));
  plan.channel.reset();
  Started started;
  auto start = receive_start(plan.parent_channel, signals, spec, deadline, started);
  Child command(0, std::move(started.process));
  if (!start) {
    abandon(helper);
    abandon(command);
    return fail(std::move(start).error());
  }
  (void)helper.wait();
  if (started.failure) {
    if (command.pidfd()) (void)command.wait();
    return start_failure(*started.failure, spec);
  }

  if (started.listener && spec.on_listener) spec.on_listener(std::move(started.listener));
  started.listener.reset();
  auto terminal = VZ_TRY(RawTerminal::enter(spec.pty ? spec.stdio[0] : -1));
  std::optional<PtyProxy> proxy;
  if (spec.pty) proxy = VZ_TRY(PtyProxy::create(std::move(started.master), spec.stdio[0], spec.stdio[1]));
  if (!VZ_TRY(attend(command.pidfd(), proxy, signals, deadline))) {
    kill_session(command.pidfd(), spec.cgroups);
    return fail(timed_out(spec));
  }
  if (proxy) proxy->drain();
  return command.wait();
}

}  // namespace

Result<int> run_inside(const EnterSpec& spec) {
  std::optional<SignalGuard> signals = VZ_TRY(SignalGuard::enter());
  auto result = run_guarded(spec, *signals);
  const int interrupted = signals->interrupted();
  signals.reset();
  if (spec.hand_signals_back && interrupted != 0) (void)::raise(interrupted);
  return result;
}

}  // namespace vz

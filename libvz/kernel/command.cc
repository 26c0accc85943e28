// SPDX-License-Identifier: LGPL-2.1-or-later
// Host programs that libvz runs.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>

#include <linux/close_range.h>

#include "libvz/base/text.h"
#include "libvz/kernel/child_channel.h"
#include "libvz/kernel/clone.h"
#include "libvz/kernel/exec_plan.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/sandbox.h"

namespace vz {

namespace {

constexpr const char* kPath = "/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t kOutputMax = 16u << 20;  // of a talkative program the last ones are kept
constexpr std::size_t kErrorLines = 5;

enum class CommandStep : int { start, directory, execute };

struct CommandPlan {
  ExecPlan exec;
  const char* directory = nullptr;
  bool userns = false;
  UniqueFd null;  // /dev/null
  int input = -1;
  UniqueFd output, read_output;  // pipe; none: inherited
  UniqueFd channel, parent_channel;
};

Result<CommandPlan> plan_command(const Command& command) {
  if (command.argv.empty() || command.argv[0].empty()) return fail(Code::system, "no command to run");
  std::vector<std::string> env = {std::string("PATH=") + kPath, "LC_ALL=C"};
  env.insert(env.end(), command.env.begin(), command.env.end());
  CommandPlan plan{.exec = ExecPlan(std::move(env))};
  plan.exec.add_search(command.argv, kPath);
  if (command.chdir) plan.directory = command.chdir->c_str();
  plan.userns = command.userns.has_value();
  plan.input = command.stdin_fd;
  if (plan.input < 0) {
    plan.null = VZ_TRY(open_file("/dev/null", O_RDWR));
    plan.input = plan.null.get();
  }
  if (!command.inherit_output) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno("pipe");
    plan.read_output.reset(ends[0]);
    plan.output.reset(ends[1]);
  }
  auto channel = VZ_TRY(ChildChannel::open());
  plan.channel = std::move(channel.child);
  plan.parent_channel = std::move(channel.parent);
  return plan;
}

[[noreturn]] void report(const CommandPlan& plan, CommandStep step) {
  ChildMessage message;
  message.error = errno;
  message.step = static_cast<int>(step);
  (void)send_message(plan.channel.get(), message);
  ::_exit(127);
}

void become_userns_root(const CommandPlan& plan) {
  ChildMessage go;
  if (::recv(plan.channel.get(), &go, sizeof go, 0) <= 0) ::_exit(127);
  if (become_root() < 0) report(plan, CommandStep::start);
}

[[noreturn]] void run_command_child(const CommandPlan& plan) {
  (void)::close(plan.parent_channel.get());
  if (plan.userns) become_userns_root(plan);
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int input = ::fcntl(plan.input, F_DUPFD_CLOEXEC, 3);
  int output = plan.output ? plan.output.get() : -1;
  if (input < 0 || ::dup2(input, 0) < 0) report(plan, CommandStep::start);
  if (output >= 0 && (::dup2(output, 1) < 0 || ::dup2(output, 2) < 0)) report(plan, CommandStep::start);
  if (plan.directory && ::chdir(plan.directory) < 0) report(plan, CommandStep::directory);
  reset_signals();
  (void)::syscall(SYS_close_range, 3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
  errno = plan.exec.run();
  report(plan, CommandStep::execute);
}

Result<> check_start(const UniqueFd& channel, const Command& command) {
  auto received = VZ_TRY(receive_message(channel.get()));
  if (!received) return {};  // closed by execve
  const ChildMessage& m = received->message;
  std::string what = "run " + command.argv[0];
  if (m.step == static_cast<int>(CommandStep::directory)) what += ": change to " + command.chdir.value_or("");
  Error e = Error::from_errno(m.error, what);
  if (m.step == static_cast<int>(CommandStep::execute) && m.error == ENOENT)
    return fail(std::move(e).with_hint("install the package that has " + command.argv[0]));
  return fail(std::move(e));
}

void append(std::string& output, const char* data, std::size_t size) {
  output.append(data, size);
  if (output.size() > 2 * kOutputMax) output.erase(0, output.size() - kOutputMax);
}

// Until the program has ended: a daemon that it left behind may keep the pipe open for ever.
Result<std::string> collect(const UniqueFd& pipe, const UniqueFd& process) {
  if (::fcntl(pipe.get(), F_SETFL, O_NONBLOCK) < 0) return fail_errno("set a pipe non-blocking");
  std::string output;
  char buffer[16384];
  for (bool ended = false;;) {
    ssize_t n = ::read(pipe.get(), buffer, sizeof buffer);
    if (n > 0) append(output, buffer, static_cast<std::size_t>(n));
    if (n > 0) continue;
    if (n == 0 || (errno != EAGAIN && errno != EINTR) || ended) break;
    pollfd fds[2] = {{pipe.get(), POLLIN, 0}, {process.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return fail_errno("wait for a command");
    ended = fds[1].revents != 0;
  }
  if (output.size() > kOutputMax) output.erase(0, output.size() - kOutputMax);
  return output;
}

std::string last_lines(const std::string& output) {
  std::size_t at = trim(output).empty() ? 0 : output.find_last_not_of("\n \t\r");
  for (std::size_t lines = 0; at != std::string::npos && at > 0; --at)
    if (output[at] == '\n' && ++lines == kErrorLines) break;
  return std::string(trim(std::string_view(output).substr(at)));
}

}  // namespace

Result<CommandResult> run_command(const Command& command) {
  auto plan = VZ_TRY(plan_command(command));
  CloneRequest request;
  if (plan.userns) request.flags = CLONE_NEWUSER;
  int pidfd = -1;
  pid_t pid = clone_process(request, &pidfd);
  if (pid < 0) return fail_errno("run " + command.argv[0]);
  if (pid == 0) run_command_child(plan);
  Child child(pid, UniqueFd(pidfd));
  plan.channel.reset();
  plan.output.reset();
  if (command.userns) {
    VZ_TRY(write_idmap(pid, *command.userns));
    ChildMessage go;
    go.kind = ChildMessage::go;
    (void)send_message(plan.parent_channel.get(), go);
  }
  VZ_TRY(check_start(plan.parent_channel, command));
  CommandResult result;
  if (plan.read_output) result.output = VZ_TRY(collect(plan.read_output, child.pidfd()));
  result.status = VZ_TRY(child.wait());
  return result;
}

Result<std::string> run_checked(const Command& command, Code code) {
  auto result = VZ_TRY(run_command(command));
  if (result.status == 0) return std::move(result.output);
  std::string what = command.argv[0] + " failed with status " + std::to_string(result.status);
  std::string lines = last_lines(result.output);
  return fail(code, lines.empty() ? what : what + ": " + lines);
}

}  // namespace vz

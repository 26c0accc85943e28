// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/watched_program.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libvz/kernel/box.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::size_t kTail = 4096;
constexpr int kTickMs = 200;
constexpr std::chrono::seconds kGrace{10};

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (auto& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

[[noreturn]] void run_child(char* const* argv, char* const* env, int null, int output) {
  // A process group of its own: the caller stops it as a whole, and a terminal's SIGINT reaches only the caller.
  (void)::setpgid(0, 0);
  (void)::prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
  sigset_t none;
  (void)::sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int sig : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) (void)::signal(sig, SIG_DFL);
  if (::dup2(null, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) ::_exit(126);
  (void)::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  (void)::execve(argv[0], argv, env);
  ::_exit(127);
}

int reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return 255;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Hands on the complete lines of `text` and keeps the rest.
bool hand_on(std::string& text, std::string& tail, const std::function<bool(std::string_view)>& watch) {
  bool go_on = watch("");
  for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
    if (end > 0) go_on &= watch(std::string_view(text).substr(0, end));
    tail.append(text, 0, end + 1);
    text.erase(0, end + 1);
  }
  if (tail.size() > kTail) tail.erase(0, tail.size() - kTail);
  return go_on;
}

void follow(int output, pid_t pid, WatchedResult& result, const std::function<bool(std::string_view)>& watch) {
  std::string text;
  std::chrono::steady_clock::time_point deadline;
  for (bool more = true; more;) {
    auto read = read_within(output, kTickMs, &text);
    more = read.value_or(false);
    bool go_on = hand_on(text, result.tail, watch);
    if (!go_on && !result.stopped) {
      result.stopped = true;
      deadline = std::chrono::steady_clock::now() + kGrace;
      (void)::kill(-pid, SIGTERM);
    }
    if (result.stopped && std::chrono::steady_clock::now() > deadline) (void)::kill(-pid, SIGKILL);
  }
  result.tail += text;
}

}  // namespace

Result<WatchedResult> run_watched(const WatchedProgram& program, const std::function<bool(std::string_view)>& watch) {
  Pipe output = VZ_TRY(make_pipe());
  UniqueFd null = VZ_TRY(open_file("/dev/null", O_RDONLY));
  auto args = program.argv;
  std::vector<std::string> env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  env.insert(env.end(), program.env.begin(), program.env.end());
  auto argv = pointers(args), envp = pointers(env);
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) run_child(argv.data(), envp.data(), null.get(), output.write_end.get());
  (void)::setpgid(pid, pid);  // also here: whoever comes first
  output.write_end.reset();
  WatchedResult result;
  follow(output.read_end.get(), pid, result, watch);
  result.status = reap(pid);
  return result;
}

std::string inherited_variable(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? std::string(name) + "=" + value : "";
}

}  // namespace vz

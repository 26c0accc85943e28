// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/console.h"

#include <cerrno>
#include <chrono>
#include <optional>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/dir_watch.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/vzd_protocol.h"

namespace vz {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kStartTimeout = std::chrono::seconds(10);  // it takes milliseconds, and seconds on a host at its limits

// The program to start: a `vzd` beside this executable, else this executable when it is vzctl itself (vzd is one of
// its faces). Any other program that links libvz must not be run again under another name.
Result<std::string> daemon_program() {
  char buffer[4096];
  ssize_t n = ::readlink("/proc/self/exe", buffer, sizeof buffer);
  if (n <= 0 || n == static_cast<ssize_t>(sizeof buffer)) return fail_errno("readlink /proc/self/exe");
  std::string exe(buffer, static_cast<std::size_t>(n));
  std::size_t slash = exe.rfind('/') + 1;
  std::string beside = exe.substr(0, slash) + "vzd";
  if (::access(beside.c_str(), X_OK) == 0) return beside;
  if (exe.substr(slash) == "vzctl") return exe;
  return fail(
      Error(Code::system, "cannot start vzd: there is no " + beside).with_hint("start it by hand, or install vz"));
}

// Runs in the grandchild. Only async-signal-safe calls: the caller may have threads.
[[noreturn]] void exec_daemon(const char* program, int report) {
  (void)::setsid();
  sigset_t none;
  sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int sig : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD}) (void)::sigaction(sig, &plain, nullptr);
  report = ::fcntl(report, F_DUPFD_CLOEXEC, 4);  // out of the way of 0..3, which may have been closed
  int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2; ++fd) (void)::dup2(null, fd);
  (void)::dup3(report, 3, O_CLOEXEC);
  (void)::close_range(4, ~0u, 0);
  (void)::chdir("/");
  // Nothing of the caller's environment: neither its NOTIFY_SOCKET nor its locale is vzd's business.
  char name[] = "vzd", path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  char* argv[] = {name, nullptr};
  char* env[] = {path, nullptr};
  ::execve(program, argv, env);
  int err = errno;
  (void)!::write(3, &err, sizeof err);
  ::_exit(127);
}

// Double fork: vzd belongs to init, its cgroup stays the caller's. Returns when exec worked.
Result<> spawn_daemon() {
  std::string program = VZ_TRY(daemon_program());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno("pipe");
  UniqueFd reader(ends[0]), writer(ends[1]);
  pid_t child = ::fork();
  if (child < 0) return fail_errno("fork for vzd");
  if (child == 0) {
    pid_t grandchild = ::fork();
    if (grandchild == 0) exec_daemon(program.c_str(), writer.get());
    ::_exit(grandchild < 0);
  }
  writer.reset();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  int err = 0;
  ssize_t n;
  do n = ::read(reader.get(), &err, sizeof err);
  while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof err)) return fail(Error::from_errno(err, "execute " + program));
  if (status != 0) return fail(Code::system, "cannot fork vzd");
  return {};
}

bool nobody_listens(const Error& e) { return e.sys_errno() == ENOENT || e.sys_errno() == ECONNREFUSED; }

// Starts vzd and waits until its socket appears (vzd renames it into place when it listens).
Result<UniqueFd> connect_started(const std::string& run_dir) {
  DirWatch watch = VZ_TRY(DirWatch::create());
  VZ_TRY(watch.add(run_dir));
  VZ_TRY(spawn_daemon());
  const auto end = Clock::now() + kStartTimeout;
  for (;;) {
    auto sock = connect_local(vzd_socket_path(run_dir));
    if (sock || !nobody_listens(sock.error())) return sock;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0)
      return fail(Error(Code::system, fmt::format("vzd was started but {} did not appear in {} s",
                                                  vzd_socket_path(run_dir), kStartTimeout.count()))
                      .with_hint("run `vzd` in a terminal to see why it ends"));
    VZ_TRY(watch.wait(left));
  }
}

Result<UniqueFd> connect_daemon(const std::string& run_dir, bool start) {
  auto sock = connect_local(vzd_socket_path(run_dir));
  if (sock || !start || !nobody_listens(sock.error())) return sock;
  return connect_started(run_dir);
}

// vzd answers in microseconds; a stopped one must not hang vzctl.
Result<> set_timeout(const UniqueFd& sock) {
  timeval limit{5, 0};
  for (int option : {SO_RCVTIMEO, SO_SNDTIMEO})
    if (::setsockopt(sock.get(), SOL_SOCKET, option, &limit, sizeof limit) < 0) return fail_errno("socket timeout");
  return {};
}

Result<Message> ask(const UniqueFd& sock, VzdOp op, Ctid id, const std::vector<int>& fds) {
  VZ_TRY(set_timeout(sock));
  VzdRequest request;
  request.op = op;
  request.ctid = id.value();
  VZ_TRY(send_message(sock.get(), &request, sizeof request, fds));
  VzdReply reply;
  Message message = VZ_TRY_CTX(receive_message(sock.get(), &reply, sizeof reply), "answer of vzd");
  if (message.size == 0) return fail(Error::from_errno(ECONNRESET, "vzd closed the connection"));
  if (message.size != sizeof reply || reply.magic != kVzdMagic)
    return fail(Error(Code::system, "vzd gave an answer of another version").with_hint("restart vzd"));
  reply.text[sizeof reply.text - 1] = '\0';
  if (reply.code != 0) return fail(static_cast<Code>(reply.code), reply.text);
  return message;
}

bool went_away(const Error& e) {
  return e.sys_errno() == EPIPE || e.sys_errno() == ECONNRESET || e.sys_errno() == ENOTCONN;
}

// Asks vzd, which is started when it does not run. The connection is the caller's: vzd drops what it holds for one that
// ends.
Result<UniqueFd> ask_started(const std::string& run_dir, VzdOp op, Ctid id, const std::vector<int>& fds) {
  // Twice: an idle vzd may end between our connect and its accept.
  for (int attempt = 0;; ++attempt) {
    UniqueFd sock = VZ_TRY(connect_daemon(run_dir, true));
    auto reply = ask(sock, op, id, fds);
    if (reply) return sock;
    if (attempt == 1 || !went_away(reply.error())) return fail(std::move(reply).error());
  }
}

struct Answer {
  UniqueFd sock;
  Message message;
};

// Nothing when no vzd runs, or when it ends while we ask.
Result<std::optional<Answer>> ask_running(const std::string& run_dir, VzdOp op, Ctid id) {
  auto sock = connect_daemon(run_dir, false);
  if (!sock && nobody_listens(sock.error())) return std::nullopt;
  if (!sock) return fail(std::move(sock).error());
  auto message = ask(*sock, op, id, {});
  if (!message && went_away(message.error())) return std::nullopt;
  if (!message) return fail(std::move(message).error());
  return Answer{*std::move(sock), *std::move(message)};
}

}  // namespace

Result<> vzd_adopt(const std::string& run_dir, Ctid id, const UniqueFd& console_master, const UniqueFd& init_pidfd) {
  std::vector<int> fds;
  if (console_master) fds.push_back(console_master.get());
  fds.push_back(init_pidfd.get());
  VZ_TRY(ask_started(run_dir, VzdOp::adopt, id, fds));
  return {};
}

Result<> vzd_quota(const std::string& run_dir, Ctid id, const UniqueFd& listener) {
  VZ_TRY(ask_started(run_dir, VzdOp::quota, id, {listener.get()}));
  return {};
}

Result<ConsoleLease> vzd_console(const std::string& run_dir, Ctid id) {
  std::optional<Answer> answer = VZ_TRY(ask_running(run_dir, VzdOp::console, id));
  if (!answer)
    return fail(Error(Code::not_running, "container " + id.str() + " has no console: vzd does not run")
                    .with_hint("a container's console comes back with its next start"));
  if (answer->message.fds.size() != 1) return fail(Code::system, "vzd sent no console of container " + id.str());
  ConsoleLease lease;
  lease.master = std::move(answer->message.fds[0]);
  lease.lease = std::move(answer->sock);
  // Nobody writes to the log while we have the lease.
  if (auto log = read_file(run_dir + "/" + id.str() + "/console.log")) lease.backlog = std::move(*log);
  return lease;
}

void vzd_sample(const std::string& run_dir) { (void)ask_running(run_dir, VzdOp::sample, Ctid(0)); }

Result<std::map<std::string, UniqueFd>> vzd_yield(const std::string& run_dir) {
  UniqueFd sock = VZ_TRY(connect_daemon(run_dir, false));
  VZ_TRY(ask(sock, VzdOp::yield, Ctid(0), {}));
  std::map<std::string, UniqueFd> out;
  for (;;) {
    VzdReply item;
    Message message = VZ_TRY_CTX(receive_message(sock.get(), &item, sizeof item), "what vzd hands over");
    if (message.size == 0) return out;
    item.text[sizeof item.text - 1] = '\0';
    if (message.size != sizeof item || message.fds.size() != 1) return fail(Code::system, "vzd hands over nothing");
    out[item.text] = std::move(message.fds[0]);
  }
}

Result<UniqueFd> vzd_hold(const std::string& run_dir, Ctid id, bool start) {
  if (start) return ask_started(run_dir, VzdOp::hold, id, {});
  std::optional<Answer> answer = VZ_TRY(ask_running(run_dir, VzdOp::hold, id));
  if (!answer) return UniqueFd();  // nothing to hold off: an empty fd is a valid hold
  return std::move(answer->sock);
}

}  // namespace vz

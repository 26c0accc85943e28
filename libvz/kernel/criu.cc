// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/criu.h"

#include <cerrno>
#include <csignal>
#include <iterator>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "criu_rpc.pb.h"
#include "libvz/base/text.h"
#include "libvz/kernel/fd_passing.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/signal.h"

namespace vz {

namespace {

constexpr std::size_t kMessageMax = 256u << 10;
constexpr std::size_t kLogTail = 256u << 10;
constexpr std::uint32_t kSeizeTimeout = 180;     // seconds that all tasks may take to stop
constexpr std::uint32_t kGhostLimit = 1u << 30;  // bytes of a deleted file that is still open
constexpr int kLogLevel = 3;                     // what it does, without each page

template <class Message>
std::string bytes_of(const Message& message) {
  std::string out;
  (void)message.SerializeToString(&out);
  return out;
}

Result<> send_bytes(int socket, const std::string& bytes) {
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (send_with_fd(socket, header, -1) < 0) return fail_errno("talk to CRIU");
  return {};
}

struct Answer {
  criu_rpc::Response response;
  UniqueFd fd;
};

// Whether it says something before it has ended. What it has made for a restore may have the socket as well, and
// outlive it: its end does not always show there.
Result<bool> wait_for_word(int socket, const UniqueFd& process) {
  pollfd fds[] = {{socket, POLLIN, 0}, {process.get(), POLLIN, 0}};
  while (::poll(fds, std::size(fds), -1) < 0)
    if (errno != EINTR) return fail_errno("listen to CRIU");
  return fds[0].revents != 0;
}

// nullopt: CRIU has ended.
Result<std::optional<Answer>> receive_answer(int socket, const UniqueFd& process) {
  std::vector<char> buffer(kMessageMax);
  iovec data{buffer.data(), buffer.size()};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  Answer out;
  if (!VZ_TRY(wait_for_word(socket, process))) return std::optional<Answer>();
  ssize_t n = receive_with_fd(socket, header, &out.fd);
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return std::optional<Answer>();
  if (n < 0) return fail_errno("listen to CRIU");
  // Partial: the other form writes to standard error when a field is missing.
  if (!out.response.ParsePartialFromArray(buffer.data(), static_cast<int>(n)) || !out.response.IsInitialized())
    return fail(Code::system, "CRIU sent a message that cannot be read");
  return std::optional<Answer>(std::move(out));
}

Result<> answer_notification(int socket, bool good) {
  criu_rpc::Request reply;
  reply.set_type(criu_rpc::NOTIFY);
  reply.set_notify_success(good);
  return send_bytes(socket, bytes_of(reply));
}

void set_common(criu_rpc::Options& o, const CriuCommon& request, const char* log) {
  o.set_images_dir_fd(request.images_fd);
  o.set_log_level(kLogLevel);
  o.set_log_file(log);
  o.set_notify_scripts(true);
  o.set_tcp_established(true);
  o.set_file_locks(true);
  o.set_link_remap(true);
  o.set_ghost_limit(kGhostLimit);
  o.set_manage_cgroups_mode(criu_rpc::CG_SOFT);
  o.set_network_lock(criu_rpc::LOCK_NFTABLES);
  // The console's master is outside, and nobody's session leader has it: shell_job is what allows that.
  o.set_orphan_pts_master(true);
  o.set_shell_job(true);
  if (request.empty_network) o.set_empty_ns(CLONE_NEWNET);
  for (const auto& e : request.external) o.add_external(e);
}

criu_rpc::Options dump_options(const CriuDump& request, const char* log) {
  criu_rpc::Options o;
  set_common(o, request, log);
  o.set_pid(request.pid);
  o.set_timeout(kSeizeTimeout);
  o.set_tcp_skip_in_flight(true);
  for (const auto& name : request.hierarchies) o.add_cgroup_dump_controller(name);
  if (request.leave_running) o.set_leave_running(true);
  if (!request.freeze_cgroup.empty()) o.set_freeze_cgroup(request.freeze_cgroup);
  if (request.without_memory) o.set_lazy_pages(true);
  return o;
}

// What a CRIU that was killed leaves: helpers, and processes of a container that are in no group of it yet. They wait
// for it for ever.
void end_session(pid_t leader) {
  auto names = list_dir("/proc");
  if (!names) return;
  for (const auto& name : *names) {
    auto pid = parse_u64(name);
    if (!pid || *pid == static_cast<std::uint64_t>(leader)) continue;
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(*pid), 0)));
    // After it was opened: this is who is meant.
    if (process && ::getsid(static_cast<pid_t>(*pid)) == leader) (void)send_signal(process, SIGKILL);
  }
}

}  // namespace

Criu::~Criu() { wait_end(); }

void Criu::wait_end() {
  socket_.reset();
  if (child_.pid() <= 0) return;
  siginfo_t how{};
  // Not reaped yet: nobody else has its number, which is that of its session.
  while (::waitid(P_PID, static_cast<id_t>(child_.pid()), &how, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
  if (how.si_code != CLD_EXITED && !bound_) end_session(child_.pid());
  (void)child_.wait();
}

bool Criu::alive() const {
  pollfd socket{socket_.get(), POLLRDHUP, 0};
  return ::poll(&socket, 1, 0) == 0;
}

Error Criu::log_error(const char* log, Code code, const std::string& message) const {
  std::string text;
  const std::string path = work_dir_ + "/" + log;
  if (auto fd = open_file(path, O_RDONLY)) {
    auto size = file_size(fd->get()).value_or(0);
    text = read_at(fd->get(), size > kLogTail ? size - kLogTail : 0, kLogTail).value_or("");
  }
  std::string errors = criu_log_errors(text);
  if (errors.empty()) errors = message.empty() ? "CRIU ended without saying why" : message;
  return Error(code, "CRIU: " + errors).with_hint("its log: " + path);
}

// By path, not by descriptor: CRIU mounts in it, which it can only in its own mount namespace.
Result<> Criu::write_config(criu_rpc::Options& options) const {
  const std::string path = work_dir_ + "/criu.conf";
  std::string text = "work-dir " + work_dir_ + "\n";
  // These have no fields of their own.
  if (!pid_file_.empty()) text += "pidfile " + pid_file_ + "\n";
  // Who would ask for the pages that a dump has left out: nobody.
  if (options.lazy_pages()) text += fmt::format("ps-socket {}\n", kEndedSocket);
  VZ_TRY(replace_file(path, text, 0600));
  options.set_config_file(path);
  return {};
}

Result<> Criu::call(int type, const std::string& options, const char* log, Code code, const CriuHook& hook,
                    std::string* response) {
  criu_rpc::Request request;
  request.set_type(static_cast<criu_rpc::Type>(type));
  if (!request.mutable_opts()->ParsePartialFromString(options)) return fail(code, "bad options for CRIU");
  VZ_TRY(write_config(*request.mutable_opts()));
  VZ_TRY(send_bytes(socket_.get(), bytes_of(request)));
  std::optional<Error> refused;
  for (;;) {
    auto answer = VZ_TRY(receive_answer(socket_.get(), child_.pidfd()));
    if (!answer) {
      if (refused) return fail(*std::move(refused));
      return fail(log_error(log, code, ""));
    }
    if (answer->response.type() != criu_rpc::NOTIFY) {
      *response = bytes_of(answer->response);
      if (answer->response.success()) return {};
      if (refused) return fail(*std::move(refused));
      return fail(log_error(log, code, answer->response.cr_errmsg()));
    }
    const auto& notify = answer->response.notify();
    CriuNotification notification{notify.script(), notify.pid(), std::move(answer->fd), {}};
    auto done = hook(notification);
    if (!done && !refused) refused = std::move(done).error();
    if (!answer_notification(socket_.get(), done.has_value()))
      return fail(refused ? *std::move(refused) : log_error(log, code, "CRIU ended before its time"));
    bound_ = bound_ || (done && notification.name == "post-restore");
    if (done && notification.then) notification.then();
  }
}

Result<CriuFeatures> Criu::features() {
  criu_rpc::Request request;
  request.set_type(criu_rpc::FEATURE_CHECK);
  request.mutable_features()->set_mem_track(true);
  request.mutable_features()->set_lazy_pages(true);
  VZ_TRY(send_bytes(socket_.get(), bytes_of(request)));
  auto answer = VZ_TRY(receive_answer(socket_.get(), child_.pidfd()));
  if (!answer || !answer->response.success()) return fail(Code::unsupported, "CRIU does not tell its features");
  const auto& features = answer->response.features();
  return CriuFeatures{features.mem_track(), features.lazy_pages()};
}

Result<> Criu::dump(const CriuDump& request, const CriuHook& hook) {
  constexpr const char* kLog = "dump.log";
  std::string response;
  return call(criu_rpc::DUMP, bytes_of(dump_options(request, kLog)), kLog, Code::checkpoint, hook, &response);
}

Result<pid_t> Criu::restore(const CriuRestore& request, const CriuHook& hook) {
  constexpr const char* kLog = "restore.log";
  criu_rpc::Options options;
  set_common(options, request, kLog);
  options.set_root(request.root);
  pid_file_ = request.pid_file;
  std::string bytes;
  VZ_TRY(call(criu_rpc::RESTORE, bytes_of(options), kLog, Code::restore, hook, &bytes));
  criu_rpc::Response response;
  if (!response.ParseFromString(bytes) || !response.has_restore())
    return fail(Code::restore, "CRIU did not say what it restored");
  return static_cast<pid_t>(response.restore().pid());
}

// In this file because it speaks the protocol; choose_criu() in criu_program.cc calls it.
Result<CriuVersion> criu_version(const std::string& path) {
  auto criu = VZ_TRY(Criu::spawn({path, {}}, {}));
  criu_rpc::Request request;
  request.set_type(criu_rpc::VERSION);
  VZ_TRY(send_bytes(criu.socket_.get(), bytes_of(request)));
  auto answer = VZ_TRY(receive_answer(criu.socket_.get(), criu.child_.pidfd()));
  if (!answer || !answer->response.success()) return fail(Code::unsupported, path + " does not tell its version");
  const auto& v = answer->response.version();
  return CriuVersion{v.major_number(), v.minor_number(), v.sublevel()};
}

}  // namespace vz

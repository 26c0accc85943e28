// SPDX-License-Identifier: GPL-2.0-or-later
// vz-exporter: the metrics over HTTP. One thread and no descriptors but sockets; clients can be slow, many or wrong.
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "vzctl/face.h"
#include "vzctl/format.h"
#include "vzctl/http.h"
#include "vzctl/metrics.h"

namespace vzctl {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr const char* kAddress = "127.0.0.1:9788";
constexpr int kFirstPassed = 3;  // sd_listen_fds(3)
constexpr size_t kMaxClients = 64;
constexpr auto kRequestTime = seconds(5), kReplyTime = seconds(10), kCloseTime = seconds(2);
constexpr auto kIdle = seconds(60);  // then a socket-activated one ends; the next client starts it again

constexpr Option kOptions[] = {
    {"--listen", "ADDRESS:PORT", "Where to listen when systemd passes no socket; 127.0.0.1:9788 otherwise"},
};

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) (void)close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// One connection: first its request comes in, then the reply goes out, then what else it sends is thrown away until it
// closes, because closing first could take the reply from it.
struct Client {
  enum class State { request, reply, closing };
  Socket socket;
  Clock::time_point due;
  State state = State::request;
  std::string in, out;
  size_t sent = 0;
};

class Server {
 public:
  Server(const vz::Host& host, TerminalReporter& reporter, std::vector<Socket> listeners, bool may_end)
      : host_(host), reporter_(reporter), listeners_(std::move(listeners)), may_end_(may_end) {}

  vz::Result<int> run() {
    for (;;) {
      auto fds = poll_set();
      const int ready = ::poll(fds.data(), fds.size(), wait_ms());
      if (ready < 0 && errno != EINTR) return vz::fail_errno("poll");
      if (ready > 0) serve(fds);
      drop_late();
      if (!clients_.empty()) last_ = Clock::now();
      if (may_end_ && Clock::now() - last_ >= kIdle) return 0;
    }
  }

 private:
  std::vector<pollfd> poll_set() const {
    std::vector<pollfd> fds;
    for (const auto& client : clients_)
      fds.push_back(
          {client.socket.get(), static_cast<short>(client.state == Client::State::reply ? POLLOUT : POLLIN), 0});
    // With a full house the others wait in the kernel's queue.
    if (clients_.size() < kMaxClients)
      for (const auto& listener : listeners_) fds.push_back({listener.get(), POLLIN, 0});
    return fds;
  }

  int wait_ms() const {
    auto until = clients_.empty() ? (may_end_ ? last_ + kIdle : Clock::time_point::max()) : Clock::time_point::max();
    for (const auto& client : clients_) until = std::min(until, client.due);
    if (until == Clock::time_point::max()) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    return static_cast<int>(std::max<decltype(left)>(left, 0));
  }

  void serve(const std::vector<pollfd>& fds) {
    const size_t old = clients_.size();
    for (size_t i = 0; i < old; ++i)
      if (fds[i].revents && !step(clients_[i])) clients_[i].due = Clock::time_point::min();
    for (size_t i = old; i < fds.size(); ++i)
      if (fds[i].revents) accept_from(fds[i].fd);
  }

  void accept_from(int listener) {
    int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) clients_.push_back({Socket(fd), Clock::now() + kRequestTime, Client::State::request, {}, {}, 0});
  }

  // False: the connection is over.
  bool step(Client& client) {
    if (client.state == Client::State::reply) return send_some(client);
    char buffer[4096];
    const ssize_t n = ::recv(client.socket.get(), buffer, sizeof buffer, 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    if (client.state == Client::State::closing) return true;
    client.in.append(buffer, static_cast<size_t>(n));
    if (!vz::http_complete(client.in)) return true;
    reply(client, http_answer(client.in, [&] { return page(); }));
    return send_some(client);
  }

  void reply(Client& client, std::string text) {
    client.out = std::move(text);
    client.state = Client::State::reply;
    client.due = Clock::now() + kReplyTime;
  }

  bool send_some(Client& client) {
    const ssize_t n = ::send(client.socket.get(), client.out.data() + client.sent, client.out.size() - client.sent,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    client.sent += static_cast<size_t>(n);
    if (client.sent < client.out.size()) return true;
    (void)::shutdown(client.socket.get(), SHUT_WR);
    client.state = Client::State::closing;
    client.due = Clock::now() + kCloseTime;
    return true;
  }

  // Who has not sent a request in time is told so, if it takes no waiting.
  void drop_late() {
    const auto now = Clock::now();
    for (auto& client : clients_)
      if (client.due <= now && client.due != Clock::time_point::min() && client.state == Client::State::request) {
        const std::string text = vz::http_error(408);
        (void)::send(client.socket.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      }
    std::erase_if(clients_, [&](const Client& client) { return client.due <= now; });
  }

  // Many who ask at the same time get the same text.
  vz::Result<std::string> page() {
    if (text_ && Clock::now() - made_ < seconds(1)) return *text_;
    auto text = render_metrics(host_);
    if (!text) {
      reporter_.error(text.error());
      return text;
    }
    text_ = *text;
    made_ = Clock::now();
    return text;
  }

  const vz::Host& host_;
  TerminalReporter& reporter_;
  std::vector<Socket> listeners_;
  bool may_end_;
  std::vector<Client> clients_;
  Clock::time_point last_ = Clock::now(), made_;
  std::optional<std::string> text_;
};

std::vector<Socket> passed_sockets() {
  std::vector<Socket> out;
  const char* pid = getenv("LISTEN_PID");
  const char* count = getenv("LISTEN_FDS");
  if (!pid || !count || atol(pid) != getpid()) return out;
  for (int i = 0; i < std::min(atoi(count), 16); ++i) {
    (void)fcntl(kFirstPassed + i, F_SETFD, FD_CLOEXEC);
    (void)fcntl(kFirstPassed + i, F_SETFL, O_NONBLOCK);
    out.emplace_back(kFirstPassed + i);
  }
  return out;
}

vz::Result<Socket> listen_on(const std::string& where) {
  auto bad = [&](std::string_view why) {
    return vz::fail(vz::Error(vz::Code::bad_value, fmt::format("--listen {}: {}", printable(where), why))
                        .with_hint("as in 127.0.0.1:9788 or [::1]:9788"));
  };
  auto colon = where.rfind(':');
  if (colon == where.npos) return bad("no port");
  std::string address = where.substr(0, colon);
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  if (int err = getaddrinfo(address.c_str(), where.c_str() + colon + 1, &hints, &found); err != 0)
    return bad(gai_strerror(err));
  std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Socket socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0 || ::listen(socket.get(), 64) != 0)
    return vz::fail_errno("listen on " + where);
  return socket;
}

}  // namespace

std::span<const Option> vz_exporter_options() { return kOptions; }

vz::Result<int> run_vz_exporter(FaceCall& call) {
  auto sockets = passed_sockets();
  const bool passed = !sockets.empty();
  if (!passed) sockets.push_back(VZ_TRY(listen_on(call.options.value_or("--listen", kAddress))));
  return Server(call.host, call.reporter, std::move(sockets), passed).run();
}

}  // namespace vzctl

// SPDX-License-Identifier: LGPL-2.1-or-later
// Backups from inside: a socket for each container that has the right to, and its connections. Nothing is waited for
// here. What reads or writes a disk is done by processes of their own (owner_backups.h), which say through a pipe what
// is to be replied; so every connection is ours, and can be closed before the container is saved.
#include <algorithm>
#include <csignal>

#include "libvz/container/daemon.h"
#include "libvz/container/owner_backups.h"
#include "libvz/container/owner_dir.h"
#include "libvz/container/prefix_reporter.h"
#include "libvz/container/state.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/job.h"
#include "libvz/kernel/owner_socket.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/vzd_protocol.h"

namespace vz {
namespace {

using std::chrono::seconds;

constexpr std::size_t kMaxClients = 8;       // of one container; others wait in the kernel's queue
constexpr std::uint32_t kMaxPerWindow = 20;  // connections that are accepted in one second
constexpr auto kWindow = seconds(1);
constexpr auto kRequestTime = seconds(10), kReplyTime = seconds(10), kCloseTime = seconds(2);
constexpr auto kAnswerTime = seconds(60);      // until a process has said what becomes of a request
constexpr std::size_t kMaxReply = 256u << 10;  // what a process may have us say
constexpr std::uint32_t kMaxRetries = 60;      // one a second while another vzctl has the container's lock
constexpr std::uint32_t kMaxFailures = 5;
constexpr int kLockedStatus = static_cast<int>(Code::locked);

// In a child, with an own view of the host: the configuration may have changed since vzd started.
int run_owner_job(HostPaths paths, Ctid id, const std::optional<OwnerRequest>& request, UniqueFd answer,
                  Reporter& out) {
  PrefixReporter reporter(out, id);
  (void)std::signal(SIGPIPE, SIG_IGN);  // tar may end early, and vzd, too
  auto tell = [&](const std::string& reply) {
    (void)write_all(answer.get(), reply);
    answer.reset();
  };
  auto work = [&]() -> Result<> {
    Host host = VZ_TRY(Host::open(paths));
    return request ? serve_owner(host, id, *request, tell, reporter) : settle_owner(host, id, reporter);
  };
  auto done = work();
  if (done) return 0;
  if (done.error().code() != Code::locked || request)
    reporter.say(Reporter::Level::error, "owner: " + done.error().message());
  const int status = static_cast<int>(done.error().code());
  return status > 0 && status < 256 ? status : 255;
}

}  // namespace

// Whether it has the right is in what it was started with; whether it still has, each request asks again.
void Daemon::open_owner(Ctid id) {
  close_owner(id);
  if (!exists(owner_dir(host_, id)) || held(id)) return;
  auto state = load_state(host_, id);
  if (!state || !*state) return;
  if (!wants_owner_backups(Config::parse((*state)->config_snapshot, "state"))) return;
  auto listener = listen_in(owner_dir(host_, id), kOwnerSocket, (*state)->idmap.base);
  if (!listener || !poller_.add(listener->get(), EPOLLIN, token(Token::owner_listener, id.value())))
    return log(Reporter::Level::warning, id,
               "no backups from inside: " + (listener ? std::string("epoll") : listener.error().message()));
  OwnerWard& ward = owner_wards_[id];
  ward.listener = std::move(*listener);
  ward.root = (*state)->idmap.base;
  ward.paused = false;
}

// Nobody inside is connected any more when it returns: nobody else has these descriptors.
void Daemon::close_owner(Ctid id) {
  std::vector<int> fds;
  for (const auto& [fd, client] : owner_clients_)
    if (client.id == id) fds.push_back(fd);
  for (int fd : fds) close_owner_client(fd);
  auto ward = owner_wards_.find(id);
  if (ward == owner_wards_.end()) return;
  if (ward->second.listener) poller_.remove(ward->second.listener.get());
  ward->second.listener.reset();
  forget_owner(id);
}

// A ward without socket stays as long as something works for it.
void Daemon::forget_owner(Ctid id) {
  auto ward = owner_wards_.find(id);
  if (ward == owner_wards_.end()) return;
  const OwnerWard& w = ward->second;
  if (!w.listener && !w.reader.process && !w.operation.process && !w.settle) owner_wards_.erase(ward);
}

std::size_t Daemon::count_owner_clients(Ctid id) const {
  return static_cast<std::size_t>(
      std::count_if(owner_clients_.begin(), owner_clients_.end(), [&](const auto& c) { return c.second.id == id; }));
}

void Daemon::accept_owner(Ctid id) {
  auto found = owner_wards_.find(id);
  if (found == owner_wards_.end() || !found->second.listener) return;
  OwnerWard& ward = found->second;
  const auto now = Clock::now();
  if (now - ward.window >= kWindow) {
    ward.window = now;
    ward.accepted = 0;
  }
  std::size_t there = count_owner_clients(id);
  for (; there < kMaxClients && ward.accepted < kMaxPerWindow; ++there) {
    auto peer = accept_peer(ward.listener);
    if (!peer) break;  // out of descriptors: the others wait
    if (!*peer) return;
    ++ward.accepted;
    const int fd = (*peer)->sock.get();
    if (!poller_.add(fd, EPOLLIN, token(Token::owner_client, static_cast<std::uint32_t>(fd)))) continue;
    OwnerClient& client = owner_clients_[fd];
    client.sock = std::move((*peer)->sock);
    client.id = id;
    client.serial = ++owner_serial_;
    client.root = (*peer)->uid == ward.root;
    client.due = now + kRequestTime;
  }
  poller_.modify(ward.listener.get(), 0, token(Token::owner_listener, id.value()));
  ward.paused = true;
}

// Nothing is accepted until the window ends, or until there is room.
void Daemon::resume_owner(Ctid id, OwnerWard& ward) {
  if (!ward.paused || !ward.listener || Clock::now() - ward.window < kWindow) return;
  if (count_owner_clients(id) >= kMaxClients) return;
  ward.paused = false;
  poller_.modify(ward.listener.get(), EPOLLIN, token(Token::owner_listener, id.value()));
}

void Daemon::close_owner_client(int fd) {
  poller_.remove(fd);
  owner_clients_.erase(fd);
}

void Daemon::owner_event(int fd) {
  auto found = owner_clients_.find(fd);
  if (found == owner_clients_.end()) return;
  OwnerClient& client = found->second;
  if (client.state == OwnerClient::State::reply) return send_owner(fd, client);
  auto data = receive_some(fd);
  if (!data) return close_owner_client(fd);
  if (*data && (*data)->empty()) {
    // One that has said all it has to say may still be there to read.
    if (client.state != OwnerClient::State::waiting || (poll_now(fd) & EPOLLHUP)) return close_owner_client(fd);
    return poller_.modify(fd, 0, token(Token::owner_client, static_cast<std::uint32_t>(fd)));
  }
  if (!*data || client.state != OwnerClient::State::request) return;  // what else it says is thrown away
  client.in += **data;
  if (http_complete(client.in)) take_request(fd, client);
}

void Daemon::take_request(int fd, OwnerClient& client) {
  using What = OwnerRequest::What;
  OwnerRequest request;
  const int status = parse_owner_request(client.in, client.id, &request);
  client.in.clear();
  if (!client.root) return reply_owner(fd, client, owner_error(403, request, "this is for root of the container only"));
  if (status != 200) return reply_owner(fd, client, owner_error(status, request));
  if (request.what == What::help) return reply_owner(fd, client, owner_help());
  OwnerWard& ward = owner_wards_[client.id];
  if (request.what == What::status) {
    auto record = load_owner_record(host_, client.id);
    // Over is what lets another one begin: not before its process has ended.
    if (record && record->over() && (ward.operation.process || ward.settle)) {
      record->state = "running";
      record->message.clear();
    }
    return reply_owner(fd, client, owner_status(record, request));
  }
  const bool reads = request.what == What::list;
  OwnerJob& job = reads ? ward.reader : ward.operation;
  if (job.process || (!reads && ward.settle))
    return reply_owner(fd, client,
                       owner_error(reads ? 503 : 409, request,
                                   reads ? "a list is being made already" : "another operation goes on: see /status"));
  client.state = OwnerClient::State::waiting;
  client.due = Clock::now() + kAnswerTime;
  job.client = fd;
  job.serial = client.serial;
  if (!start_owner_job(client.id, job, request)) reply_owner(fd, client, owner_error(503, request));
}

// Without a request: settle what one that died has left.
bool Daemon::start_owner_job(Ctid id, OwnerJob& job, const std::optional<OwnerRequest>& request) {
  auto pipe = open_pipe();
  if (!pipe) return false;
  HostPaths paths = host_.paths();
  auto process = start_job([&] {
    Reporter& out = reporter_;
    UniqueFd answer = std::move(pipe->write_end);
    const auto wanted = request;  // drop_descriptors() takes what it may be part of
    drop_descriptors();
    pipe->read_end.reset();
    return run_owner_job(paths, id, wanted, std::move(answer), out);
  });
  pipe->write_end.reset();
  const auto mine = token(Token::owner_job, id.value());
  if (!process || !poller_.add(process->get(), EPOLLIN, mine)) return false;
  job.text.clear();
  job.process = std::move(*process);
  job.answer = std::move(pipe->read_end);
  if (!poller_.add(job.answer.get(), EPOLLIN, mine)) job.answer.reset();
  return true;
}

void Daemon::owner_job_event(Ctid id) {
  auto found = owner_wards_.find(id);
  if (found == owner_wards_.end()) return;
  OwnerWard& ward = found->second;
  for (OwnerJob* job : {&ward.reader, &ward.operation}) {
    const bool ended = job->process && poll_now(job->process.get());
    if (job->answer) read_owner_answer(*job, ended);
    if (!ended) continue;
    poller_.remove(job->process.get());
    const int status = finish_job(job->process);
    job->process.reset();
    if (job == &ward.operation) operation_ended(id, ward, status);
  }
  forget_owner(id);
}

void Daemon::read_owner_answer(OwnerJob& job, bool ended) {
  bool complete = ended;
  for (;;) {
    auto data = receive_some(job.answer.get());
    if (data && !*data) break;
    if (!data || (*data)->empty() || job.text.size() > kMaxReply) {
      complete = true;
      break;
    }
    job.text += **data;
  }
  if (!complete) return;
  // What is over lets another one begin: that is true as soon as the process has ended.
  constexpr std::string_view kBegun = "HTTP/1.1 202 ";
  if (!ended && job.process && !job.text.starts_with(kBegun)) return poller_.remove(job.answer.get());
  poller_.remove(job.answer.get());
  job.answer.reset();
  auto client = owner_clients_.find(job.client);
  // It may have gone, and another one may have its number.
  if (client != owner_clients_.end() && client->second.serial == job.serial)
    reply_owner(client->first, client->second, job.text.empty() ? http_error(500) : std::move(job.text));
  job.text.clear();
  job.client = -1;
}

// A child says by its record that it came to its end.
void Daemon::operation_ended(Ctid id, OwnerWard& ward, int status) {
  auto record = load_owner_record(host_, id);
  const bool settled = std::exchange(ward.settle, false);
  if (!record || record->over()) return adopt_unknown(id);
  if (!settled) ward.retries = ward.failures = 0;
  if (settled && (status == kLockedStatus ? ++ward.retries > kMaxRetries : ++ward.failures >= kMaxFailures)) {
    log(Reporter::Level::error, id, "owner: what " + record->operation + " left cannot be repaired now");
    give_up_owner(host_, id);
    return adopt_unknown(id);
  }
  ward.settle = true;
  ward.settle_at = Clock::now() + (settled ? seconds(1) : seconds(0));
}

// Whoever started it may have died before it could tell us.
void Daemon::adopt_unknown(Ctid id) {
  // A ward that does not run is of the init before.
  if (auto ward = wards_.find(id); ward != wards_.end() && ward->second.state == Ward::State::running) return;
  auto state = load_state(host_, id);
  if (!state || !*state || (*state)->phase != "running") return;
  auto pidfd = open_process((*state)->init);
  if (!pidfd) return;
  if (auto done = adopt(id, UniqueFd(), std::move(*pidfd)); !done)
    log(Reporter::Level::warning, id, done.error().message());
}

void Daemon::reply_owner(int fd, OwnerClient& client, std::string text) {
  client.out = std::move(text);
  client.sent = 0;
  client.state = OwnerClient::State::reply;
  client.due = Clock::now() + kReplyTime;
  poller_.modify(fd, EPOLLOUT, token(Token::owner_client, static_cast<std::uint32_t>(fd)));
}

void Daemon::send_owner(int fd, OwnerClient& client) {
  auto sent = send_some(fd, std::string_view(client.out).substr(client.sent));
  if (!sent) return close_owner_client(fd);
  client.sent += *sent;
  if (client.sent < client.out.size()) return;
  // Closing before it has read everything could take the reply from it.
  end_sending(fd);
  client.out = {};
  client.state = OwnerClient::State::closing;
  client.due = Clock::now() + kCloseTime;
  poller_.modify(fd, EPOLLIN, token(Token::owner_client, static_cast<std::uint32_t>(fd)));
}

// Operations that an earlier vzd began: some go on, the others are settled.
void Daemon::adopt_operations() {
  auto names = list_dir(owner_records(host_));
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    if (!name.ends_with(".json")) continue;
    auto id = Ctid::parse(name.substr(0, name.size() - 5));
    auto record = id ? load_owner_record(host_, *id) : std::nullopt;
    if (!record || record->over()) continue;
    OwnerWard& ward = owner_wards_[*id];
    auto process = open_process({static_cast<pid_t>(record->pid), record->start_time});
    if (process && poller_.add(process->get(), EPOLLIN, token(Token::owner_job, id->value()))) {
      ward.operation.process = std::move(*process);
    } else {
      ward.settle = true;
      ward.settle_at = Clock::now();
    }
  }
}

std::optional<Daemon::Clock::time_point> Daemon::next_owner_time() const {
  std::optional<Clock::time_point> first;
  auto consider = [&](Clock::time_point t) {
    if (!first || t < *first) first = t;
  };
  for (const auto& [fd, client] : owner_clients_) consider(client.due);
  for (const auto& [id, ward] : owner_wards_) {
    if (ward.settle && !ward.operation.process) consider(ward.settle_at);
    if (ward.paused && ward.listener && count_owner_clients(id) < kMaxClients) consider(ward.window + kWindow);
  }
  return first;
}

void Daemon::tick_owner() {
  const auto now = Clock::now();
  std::vector<int> late;
  for (const auto& [fd, client] : owner_clients_)
    if (client.due <= now) late.push_back(fd);
  for (int fd : late) {
    OwnerClient& client = owner_clients_.find(fd)->second;
    if (client.state == OwnerClient::State::request)
      reply_owner(fd, client, http_error(408));
    else if (client.state == OwnerClient::State::waiting)
      reply_owner(fd, client, http_error(503, "the host is busy; see /status"));
    else
      close_owner_client(fd);
  }
  for (auto& [id, ward] : owner_wards_) {
    resume_owner(id, ward);
    if (!ward.settle || ward.operation.process || now < ward.settle_at) continue;
    // `settle` stays: it says what the process is for.
    if (!start_owner_job(id, ward.operation, std::nullopt)) ward.settle_at = now + seconds(1);
  }
}

bool Daemon::owner_busy() const {
  return !owner_clients_.empty() || std::any_of(owner_wards_.begin(), owner_wards_.end(), [](const auto& w) {
    return w.second.settle || w.second.operation.process.valid();
  });
}

}  // namespace vz

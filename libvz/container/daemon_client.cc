// SPDX-License-Identifier: LGPL-2.1-or-later
#include <cerrno>
#include <cstring>

#include "libvz/container/daemon.h"

namespace vz {
namespace {

constexpr std::size_t kMaxConnections = 4096;  // each container's vzctl holds one or two

VzdReply reply_of(const Result<int>& answer) {
  VzdReply reply;
  if (answer) return reply;
  reply.code = static_cast<std::int32_t>(answer.error().code());
  std::strncpy(reply.text, answer.error().message().c_str(), sizeof reply.text - 1);
  return reply;
}

}  // namespace

void Daemon::accept_clients() {
  for (;;) {
    auto sock = accept_local(listener_);
    if (!sock) {
      // Out of descriptors: leave the rest in the queue; a container's end makes room.
      reporter_.warn(sock.error().message());
      return;
    }
    if (!*sock) return;
    if (connections_.size() >= kMaxConnections) continue;
    int fd = sock->get();
    if (!poller_.add(fd, EPOLLIN | EPOLLRDHUP, token(Token::client, static_cast<std::uint32_t>(fd)))) continue;
    connections_[fd].sock = std::move(*sock);
  }
}

void Daemon::serve(int sock) {
  auto found = connections_.find(sock);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  VzdRequest request;
  auto message = receive_message(sock, &request, sizeof request);
  if (!message && message.error().sys_errno() == EAGAIN) return;
  // A second request on a lease or hold is no part of the protocol.
  if (!message || message->size == 0 || connection.op != VzdOp{}) return close_connection(sock);
  auto result = answer(connection, request, message->size, message->fds);
  VzdReply reply = reply_of(result);
  std::vector<int> fds;
  if (result && *result >= 0) fds.push_back(*result);
  bool sent = send_message(sock, &reply, sizeof reply, fds).has_value();
  if (sent && result && request.op == VzdOp::yield) {
    if (auto done = hand_over(sock); !done) reporter_.warn("handing over: " + done.error().message());
    ending_ = true;
  }
  if (!sent || !result || connection.op == VzdOp{}) close_connection(sock);
}

// Returns the descriptor to send back, -1 for none.
Result<int> Daemon::answer(Connection& connection, const VzdRequest& request, std::size_t size,
                           std::vector<UniqueFd>& fds) {
  if (size != sizeof request || request.magic != kVzdMagic)
    return fail(Code::bad_syntax, "vzd does not understand the request; is it of another version than vzctl?");
  if (request.op == VzdOp::sample) {
    sample_all();
    return -1;
  }
  if (request.op == VzdOp::yield) return -1;  // the rest comes after the reply
  if (request.ctid == 0 || request.ctid > Ctid::kMax) return fail(Code::bad_value, "bad container id in the request");
  Ctid id(request.ctid);
  switch (request.op) {
    case VzdOp::adopt: {
      if (fds.empty() || fds.size() > 2) return fail(Code::bad_syntax, "adopt needs a pidfd and a console");
      UniqueFd master;
      if (fds.size() == 2) master = std::move(fds[0]);
      return adopt(id, std::move(master), std::move(fds.back())).map([] { return -1; });
    }
    case VzdOp::console:
      return lease_console(connection, id);
    case VzdOp::quota:
      if (fds.size() != 1) return fail(Code::bad_syntax, "quota needs the listener of a filter");
      return adopt_listener(id, std::move(fds[0]), std::nullopt).map([] { return -1; });
    case VzdOp::hold:
      connection.op = VzdOp::hold;
      connection.ctid = id.value();
      close_owner(id);  // who is connected could not be saved
      return -1;
    case VzdOp::yield:
    case VzdOp::sample:
      break;
  }
  return fail(Code::bad_syntax, "unknown request to vzd");
}

Result<> Daemon::adopt(Ctid id, UniqueFd master, UniqueFd pidfd) {
  if (!is_pidfd(pidfd.get())) return fail(Code::bad_value, "adopt: the last descriptor is no pidfd");
  if (master && !is_pty_master(master.get()))
    return fail(Code::bad_value, "adopt: the first descriptor is no pty master");
  auto init = identify_init(pidfd);
  Ward& ward = wards_[id];
  close_console(id, ward);
  close_quota(id);
  if (ward.pidfd) poller_.remove(ward.pidfd.get());
  ward.pidfd = std::move(pidfd);
  ward.init = init ? *init : InitIdentity{};
  ward.state = Ward::State::running;
  ward.end = EndKind::unknown;
  ward.retries = 0;
  watch_oom();
  // Already dead: the event comes at once.
  if (auto added = poller_.add(ward.pidfd.get(), EPOLLIN, token(Token::init, id.value())); !added) {
    erase(id);
    return added;
  }
  if (master) attach_console(id, ward, std::move(master));
  open_owner(id);
  return {};
}

Result<int> Daemon::lease_console(Connection& connection, Ctid id) {
  auto found = wards_.find(id);
  if (found == wards_.end() || found->second.state != Ward::State::running)
    return fail(Code::not_running, "container " + id.str() + " does not run");
  Ward& ward = found->second;
  if (!ward.master)
    return fail(Code::system, "the console of container " + id.str() +
                                  " was lost when vzd ended; it comes back with the container's next start");
  if (ward.lease >= 0)
    return fail(Code::locked, "the console of container " + id.str() + " is in use by another vzctl");
  drain(id, ward);
  poller_.remove(ward.master.get());
  ward.throttled = false;
  ward.lease = connection.sock.get();
  connection.op = VzdOp::console;
  connection.ctid = id.value();
  return ward.master.get();
}

void Daemon::close_connection(int sock) {
  auto found = connections_.find(sock);
  if (found == connections_.end()) return;
  Connection connection = std::move(found->second);
  connections_.erase(found);
  poller_.remove(sock);
  connection.sock.reset();
  if (connection.op == VzdOp{}) return;
  Ctid id(connection.ctid);
  auto ward = wards_.find(id);
  if (ward == wards_.end()) return;
  if (connection.op == VzdOp::console && ward->second.lease == sock) {
    ward->second.lease = -1;
    resume_console(id, ward->second);
  }
  if (connection.op != VzdOp::hold) return;
  if (ward->second.state == Ward::State::running) open_owner(id);
  next_step(id, ward->second);
}

bool Daemon::held(Ctid id) const {
  for (const auto& [fd, connection] : connections_)
    if (connection.op == VzdOp::hold && connection.ctid == id.value()) return true;
  return false;
}

}  // namespace vz

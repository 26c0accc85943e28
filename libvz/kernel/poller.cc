// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/poller.h"

#include <cerrno>
#include <climits>

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace vz {
namespace {

sigset_t end_set() {
  sigset_t set;
  sigemptyset(&set);
  for (int sig : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) sigaddset(&set, sig);
  return set;
}

}  // namespace

Result<Poller> Poller::create() {
  Poller poller;
  poller.fd_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!poller.fd_) return fail_errno("epoll_create");
  return poller;
}

Result<> Poller::add(int fd, std::uint32_t events, std::uint64_t token) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  if (::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return fail_errno("epoll_ctl");
  return {};
}

void Poller::modify(int fd, std::uint32_t events, std::uint64_t token) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  (void)::epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::remove(int fd) {
  if (fd >= 0) (void)::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Result<std::span<const epoll_event>> Poller::wait(std::optional<std::chrono::milliseconds> timeout) {
  int ms = -1;
  if (timeout) ms = timeout->count() > INT_MAX ? INT_MAX : static_cast<int>(timeout->count());
  int n = ::epoll_wait(fd_.get(), events_, static_cast<int>(std::size(events_)), ms);
  if (n < 0 && errno != EINTR) return fail_errno("epoll_wait");
  return std::span<const epoll_event>(events_, n < 0 ? 0 : static_cast<std::size_t>(n));
}

std::uint32_t poll_now(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) > 0 ? static_cast<std::uint32_t>(p.revents) : 0;
}

Result<EndSignals> EndSignals::block() {
  EndSignals signals;
  sigset_t set = end_set();
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return fail_errno("sigprocmask");
  sigdelset(&set, SIGHUP);
  sigdelset(&set, SIGPIPE);
  signals.fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.fd_) return fail_errno("signalfd");
  return signals;
}

EndSignals::~EndSignals() {
  if (!fd_) return;
  // What was delivered here must not be delivered once more.
  signalfd_siginfo info;
  while (::read(fd_.get(), &info, sizeof info) > 0) {
  }
  sigset_t set = end_set();
  (void)::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace vz

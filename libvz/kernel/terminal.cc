// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/terminal.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vz {

std::optional<termios> terminal_mode(int fd) {
  termios mode{};
  if (::tcgetattr(fd, &mode) < 0) return std::nullopt;
  return mode;
}

std::optional<winsize> terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) < 0) return std::nullopt;
  return size;
}

Result<RawTerminal> RawTerminal::enter(int fd) {
  RawTerminal terminal;
  auto mode = terminal_mode(fd);
  if (!mode) return terminal;
  termios raw = *mode;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) < 0) return fail_errno("set the terminal to raw mode");
  terminal.fd_ = fd;
  terminal.saved_ = mode;
  return terminal;
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), saved_(std::exchange(other.saved_, std::nullopt)) {}

RawTerminal::~RawTerminal() {
  if (saved_) (void)::tcsetattr(fd_, TCSADRAIN, &*saved_);
}

Result<SignalGuard> SignalGuard::enter() {
  SignalGuard guard;
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGPIPE}) sigaddset(&set, signal);
  guard.fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!guard.fd_) return fail_errno("signalfd");
  if (int err = ::pthread_sigmask(SIG_BLOCK, &set, &guard.saved_); err != 0) {
    guard.fd_.reset();
    return fail(Error::from_errno(err, "block signals"));
  }
  return guard;
}

SignalGuard::~SignalGuard() {
  if (!fd_) return;
  while (next() != 0) {  // a SIGPIPE of ours must not act when it is let through again
  }
  (void)::pthread_sigmask(SIG_SETMASK, &saved_, nullptr);
}

int SignalGuard::next() {
  signalfd_siginfo info;
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return 0;
  const int signal = static_cast<int>(info.ssi_signo);
  if (signal == SIGINT || signal == SIGTERM) interrupted_ = signal;
  return signal;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// The caller's terminal and signals while a command or a pty runs for him.
#pragma once

#include <optional>

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// nullopt where `fd` is no terminal.
std::optional<termios> terminal_mode(int fd);
std::optional<winsize> terminal_size(int fd);

// Raw mode until the destructor; nothing where `fd` is no terminal.
class RawTerminal {
 public:
  static Result<RawTerminal> enter(int fd);
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();

 private:
  RawTerminal() = default;
  int fd_ = -1;
  std::optional<termios> saved_;
};

// SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH and SIGPIPE of the calling thread become readable instead of acting; the
// mask comes back with the destructor.
class SignalGuard {
 public:
  static Result<SignalGuard> enter();
  SignalGuard(SignalGuard&&) noexcept = default;
  SignalGuard& operator=(SignalGuard&&) = delete;
  ~SignalGuard();
  int fd() const { return fd_.get(); }
  int next();                                       // 0: none left
  int interrupted() const { return interrupted_; }  // the last SIGINT or SIGTERM that next() took; 0: none

 private:
  SignalGuard() = default;
  UniqueFd fd_;
  sigset_t saved_{};
  int interrupted_ = 0;
};

}  // namespace vz

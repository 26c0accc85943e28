// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/console_proxy.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libvz/kernel/terminal.h"

namespace vz {
namespace {

constexpr char kEscape = 0x1b;
constexpr int kEscapeWaitMs = 1000;       // people type "Esc ." slowly
constexpr std::size_t kChunk = 4096;      // read at once
constexpr std::size_t kToTerminal = 256;  // a terminal that polls writable takes this much without blocking

class Proxy {
 public:
  Proxy(int master, int lease, int in, int out, int signals)
      : fds_{{in, POLLIN, 0}, {master, POLLIN, 0}, {out, 0, 0}, {lease, 0, 0}, {signals, POLLIN, 0}} {}

  // nullopt: go on.
  Result<std::optional<ConsoleEnd>> step(SignalGuard& signals) {
    arm();
    int n = ::poll(fds_, std::size(fds_), filter_.pending() ? kEscapeWaitMs : -1);
    if (n < 0 && errno != EINTR) return fail_errno("poll");
    if (n == 0) to_container_ += filter_.flush();
    if (n <= 0) return std::optional<ConsoleEnd>();
    if (fds_[kSignals].revents && on_signal(signals.next())) return std::optional(ConsoleEnd::interrupted);
    if (fds_[kOut].revents) write_out();
    if (fds_[kMaster].revents & (POLLIN | POLLHUP | POLLERR) && !read_master())
      return std::optional(ConsoleEnd::closed);
    if (fds_[kMaster].revents & POLLOUT) write_master();
    if (fds_[kIn].revents && read_in()) return std::optional(ConsoleEnd::detached);
    if (fds_[kLease].revents) return std::optional(ConsoleEnd::lost);
    return std::optional<ConsoleEnd>();
  }

  void copy_window_size() const {
    winsize size{};
    if (::ioctl(fds_[kIn].fd, TIOCGWINSZ, &size) == 0) (void)::ioctl(fds_[kMaster].fd, TIOCSWINSZ, &size);
  }
  // What the container said before its end.
  void finish_output() {
    while (!to_user_.empty() && write_out()) {
    }
  }

 private:
  enum { kIn, kMaster, kOut, kLease, kSignals };

  // Reads only what can be passed on: a slow terminal slows the container, never fills memory.
  void arm() {
    fds_[kMaster].events = static_cast<short>((to_user_.empty() ? POLLIN : 0) | (to_container_.empty() ? 0 : POLLOUT));
    fds_[kOut].events = to_user_.empty() ? 0 : POLLOUT;
    if (!input_ended_) fds_[kIn].events = to_container_.empty() ? POLLIN : 0;
  }
  bool on_signal(int sig) {
    if (sig == SIGWINCH) copy_window_size();
    return sig == SIGTERM || sig == SIGHUP || sig == SIGINT || sig == SIGQUIT;
  }
  bool read_master() {
    if (!to_user_.empty()) return true;
    char buffer[kChunk];
    ssize_t n = ::read(fds_[kMaster].fd, buffer, sizeof buffer);
    if (n > 0) to_user_.assign(buffer, static_cast<std::size_t>(n));
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));  // EIO: the last slave was closed
  }
  void write_master() {
    ssize_t n = ::write(fds_[kMaster].fd, to_container_.data(), to_container_.size());
    if (n > 0) to_container_.erase(0, static_cast<std::size_t>(n));
  }
  bool write_out() {
    ssize_t n = ::write(fds_[kOut].fd, to_user_.data(), std::min(to_user_.size(), kToTerminal));
    if (n > 0) to_user_.erase(0, static_cast<std::size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) to_user_.clear();  // nobody looks any more
    return n > 0;
  }
  bool read_in() {
    char buffer[kChunk];
    ssize_t n = ::read(fds_[kIn].fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n <= 0) {
      input_ended_ = true;
      fds_[kIn].fd = -1;
      return false;
    }
    auto typed = filter_.feed({buffer, static_cast<std::size_t>(n)});
    to_container_ += typed.text;
    if (typed.detach) write_master();
    return typed.detach;
  }

  pollfd fds_[5];
  EscapeFilter filter_;
  std::string to_container_, to_user_;
  bool input_ended_ = false;
};

}  // namespace

EscapeFilter::Output EscapeFilter::feed(std::string_view typed) {
  Output output;
  for (char c : typed) {
    if (!escape_) {
      if (c == kEscape)
        escape_ = true;
      else
        output.text += c;
      continue;
    }
    escape_ = false;
    if (c == '.') {
      output.detach = true;
      return output;
    }
    if (c == '!') continue;
    output.text += kEscape;
    if (c == kEscape)
      escape_ = true;
    else
      output.text += c;
  }
  return output;
}

std::string EscapeFilter::flush() { return std::exchange(escape_, false) ? std::string(1, kEscape) : std::string(); }

Result<ConsoleEnd> proxy_console(const UniqueFd& master, const UniqueFd& lease, int in, int out) {
  SignalGuard signals = VZ_TRY(SignalGuard::enter());
  std::optional<RawTerminal> terminal = VZ_TRY(RawTerminal::enter(in));
  Proxy proxy(master.get(), lease.get(), in, out, signals.fd());
  proxy.copy_window_size();
  for (;;) {
    auto end = VZ_TRY(proxy.step(signals));
    if (!end) continue;
    proxy.finish_output();
    return *end;
  }
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/pty.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <linux/magic.h>

#include "libvz/kernel/terminal.h"

namespace vz {

namespace {

constexpr std::size_t kChunk = 4096;         // read at once; a pipe that polls writable takes as much
constexpr std::size_t kDrainMax = 1u << 20;  // after the end; more than a pty can hold
constexpr int kReopenWait = 100;             // ms, how often to look whether somebody opened the slave again

bool again() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

int open_pty(int* master, int* slave) {
  // O_NONBLOCK: a FIFO planted here must not block.
  int fd = ::open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -1;
  struct stat st {};
  struct statfs fs {};
  if (::fstat(fd, &st) < 0 || ::fstatfs(fd, &fs) < 0) return -1;
  if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2) || fs.f_type != DEVPTS_SUPER_MAGIC) {
    errno = ENOTTY;
    return -1;
  }
  int unlock = 0;
  if (::fcntl(fd, F_SETFL, O_RDWR) < 0 || ::ioctl(fd, TIOCSPTLCK, &unlock) < 0) return -1;
  *slave = ::ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);  // by the kernel, not by a name
  *master = fd;
  return *slave < 0 ? -1 : 0;
}

Result<PtyProxy> PtyProxy::create(UniqueFd master, int in, int out) {
  PtyProxy proxy;
  proxy.master_ = std::move(master);
  proxy.in_ = in;
  proxy.out_ = out;
  if (::fcntl(proxy.master_.get(), F_SETFL, O_RDWR | O_NONBLOCK) < 0) return fail_errno("set the pty non-blocking");
  return proxy;
}

void PtyProxy::copy_window_size() const {
  auto size = terminal_size(in_);
  if (!size) size = terminal_size(out_);
  if (size) (void)::ioctl(master_.get(), TIOCSWINSZ, &*size);
}

int PtyProxy::prepare(pollfd* fds) {
  fds[0] = {input_ended_ || !to_container_.empty() ? -1 : in_, POLLIN, 0};
  // Nothing is read that cannot be passed on: a slow terminal slows the container and fills no memory.
  auto master = static_cast<short>((to_user_.empty() ? POLLIN : 0) | (to_container_.empty() ? 0 : POLLOUT));
  fds[1] = {hung_up_ || master == 0 ? -1 : master_.get(), master, 0};
  fds[2] = {to_user_.empty() ? -1 : out_, POLLOUT, 0};
  // A master without a slave polls as hung up without end; the session may open its terminal again.
  bool wait = std::exchange(hung_up_, false);
  return wait ? kReopenWait : -1;
}

void PtyProxy::handle(const pollfd* fds) {
  if (fds[2].revents) (void)write_out();
  if (fds[1].revents & POLLOUT) write_master();
  if (fds[1].revents & (POLLIN | POLLHUP | POLLERR)) (void)read_master();
  if (fds[0].revents) read_in();
}

bool PtyProxy::read_master() {
  if (!to_user_.empty()) {
    hung_up_ = true;  // polled for writing, and nobody is there: the output goes first
    return false;
  }
  char buffer[kChunk];
  ssize_t n = ::read(master_.get(), buffer, sizeof buffer);
  if (n > 0) to_user_.assign(buffer, static_cast<std::size_t>(n));
  if (n == 0 || (n < 0 && !again())) hung_up_ = true;  // EIO
  return n > 0;
}

void PtyProxy::write_master() {
  ssize_t n = ::write(master_.get(), to_container_.data(), to_container_.size());
  if (n > 0) to_container_.erase(0, static_cast<std::size_t>(n));
  if (n < 0 && !again()) to_container_.clear();
}

bool PtyProxy::write_out() {
  ssize_t n = ::write(out_, to_user_.data(), std::min(to_user_.size(), kChunk));
  if (n > 0) to_user_.erase(0, static_cast<std::size_t>(n));
  if (n < 0 && !again()) to_user_.clear();  // nobody looks any more; the command goes on
  return n > 0 || to_user_.empty();
}

void PtyProxy::read_in() {
  char buffer[kChunk];
  ssize_t n = ::read(in_, buffer, sizeof buffer);
  if (n < 0 && again()) return;
  if (n <= 0) return end_input();
  to_container_.append(buffer, static_cast<std::size_t>(n));
  mid_line_ = buffer[n - 1] != '\n';
}

// A pty has no half-close: end of file is a character, and twice in the middle of a line. A program that reads single
// characters gets none, it has its own way to see an end.
void PtyProxy::end_input() {
  input_ended_ = true;
  termios mode{};
  if (::tcgetattr(master_.get(), &mode) < 0 || !(mode.c_lflag & ICANON)) return;
  to_container_.append(mid_line_ ? 2 : 1, static_cast<char>(mode.c_cc[VEOF]));
}

void PtyProxy::drain() {
  for (std::size_t total = 0; total < kDrainMax;) {
    while (!to_user_.empty()) {
      pollfd p{out_, POLLOUT, 0};
      if (::poll(&p, 1, -1) < 0 && errno != EINTR) return;
      if (!write_out()) continue;
    }
    if (!read_master()) return;
    total += to_user_.size();
  }
}

}  // namespace vz

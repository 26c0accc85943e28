// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/fs_freeze.h"

#include <cerrno>

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr int kTooLong = 1, kNotThawed = 2;
constexpr int kDirFd = 3, kControlFd = 4;

// Only system calls from here on. No signal of a terminal ends it: it has to thaw.
[[noreturn]] void guard(int dir, int control, int limit_ms) {
  sigset_t all;
  (void)::sigfillset(&all);
  (void)::sigprocmask(SIG_SETMASK, &all, nullptr);
  (void)::setsid();
  // Via high numbers: a source may have the number of a target. Locks and pipes of ours are nobody else's.
  int high_dir = ::fcntl(dir, F_DUPFD, 64), high_control = ::fcntl(control, F_DUPFD, 64);
  if (::dup2(high_dir, kDirFd) < 0 || ::dup2(high_control, kControlFd) < 0) ::_exit(kNotThawed);
  (void)::close_range(kControlFd + 1, ~0u, 0);
  for (int fd = 0; fd < kDirFd; ++fd) (void)::close(fd);

  int err = ::ioctl(kDirFd, FIFREEZE, 0) == 0 ? 0 : errno;
  const bool told = ::send(kControlFd, &err, sizeof err, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof err);
  if (err != 0) ::_exit(0);
  pollfd end = {kControlFd, POLLIN, 0};
  const int ready = told ? ::poll(&end, 1, limit_ms) : 1;
  if (::ioctl(kDirFd, FITHAW, 0) != 0) ::_exit(kNotThawed);
  ::_exit(ready > 0 ? 0 : kTooLong);
}

}  // namespace

Result<FrozenFs> FrozenFs::freeze(int mount_fd, std::chrono::seconds limit) {
  UniqueFd dir = VZ_TRY(open_at(mount_fd, ".", O_RDONLY | O_DIRECTORY));
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return fail_errno("socketpair");
  UniqueFd ours(pair[0]), theirs(pair[1]);
  const int limit_ms = static_cast<int>(std::chrono::milliseconds(limit).count());
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) guard(dir.get(), theirs.get(), limit_ms);
  theirs.reset();
  FrozenFs frozen(pid, std::move(ours));
  int err = 0;
  ssize_t n;
  do n = ::recv(frozen.control_.get(), &err, sizeof err, 0);
  while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof err)) return fail(Code::io, "freeze the file system: lost contact");
  if (err != 0) return fail(Error::from_errno(err, "freeze the file system", Code::io));
  return frozen;
}

int FrozenFs::end() {
  control_.reset();
  pid_t pid = std::exchange(pid_, -1);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return kNotThawed;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kNotThawed;
}

Result<> FrozenFs::thaw() {
  switch (end()) {
    case 0:
      return {};
    case kTooLong:
      return fail(Error(Code::io, "reading the disk took too long: its file system could not be kept frozen any longer")
                      .with_hint("stop the container for it, or try again when the host has less to do"));
    default:
      return fail(Error(Code::io, "the file system could not be thawed").with_hint("see fsfreeze(8), --unfreeze"));
  }
}

FrozenFs::~FrozenFs() {
  if (pid_ > 0) (void)end();
}

}  // namespace vz

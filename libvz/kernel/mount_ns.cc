// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/mount_ns.h"

#include <cerrno>
#include <cstring>

#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libvz/kernel/fd_passing.h"
#include "libvz/kernel/mount.h"

namespace vz {

namespace {

constexpr std::size_t kMessageMax = 4096;

// One datagram: the exit code, the message, and on success the mount.
void send_outcome(int sock, int code, const std::string& message, int fd) {
  char text[kMessageMax];
  std::size_t length = std::min(message.size(), kMessageMax);
  memcpy(text, message.data(), length);
  iovec iov[2] = {{&code, sizeof code}, {text, length}};
  msghdr msg{};
  msg.msg_iov = iov;
  msg.msg_iovlen = 2;
  (void)send_with_fd(sock, msg, fd);
}

Result<UniqueFd> receive_outcome(int sock) {
  int code = -1;
  char text[kMessageMax];
  iovec iov[2] = {{&code, sizeof code}, {text, sizeof text}};
  msghdr msg{};
  msg.msg_iov = iov;
  msg.msg_iovlen = 2;
  UniqueFd fd;
  ssize_t n = receive_with_fd(sock, msg, &fd);
  if (n < static_cast<ssize_t>(sizeof code)) return fail(Code::action_script, "the mount helper died");
  if (code != 0) return fail(static_cast<Code>(code), std::string(text, static_cast<std::size_t>(n) - sizeof code));
  return fd;
}

Result<UniqueFd> mount_and_run(const UniqueFd& mount, const std::string& path, const std::function<Result<>()>& fn) {
  if (unshare(CLONE_NEWNS) != 0) return fail_errno("unshare mount namespace");
  // Slave: mounts of the host appear here, nothing goes back.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return fail_errno("make / a slave mount");
  VZ_TRY(attach_mount(mount.get(), AT_FDCWD, path));
  VZ_TRY(fn());
  return clone_mount(AT_FDCWD, path, /*recursive=*/true);
}

}  // namespace

Result<UniqueFd> with_private_mount(const UniqueFd& mount, const std::string& path,
                                    const std::function<Result<>()>& fn) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) != 0) return fail_errno("socketpair");
  UniqueFd ours(pair[0]), theirs(pair[1]);
  pid_t pid = fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    auto tree = mount_and_run(mount, path, fn);
    if (tree)
      send_outcome(theirs.get(), 0, "", tree->get());
    else
      send_outcome(theirs.get(), static_cast<int>(tree.error().code()), tree.error().message(), -1);
    _exit(0);
  }
  theirs.reset();
  auto result = receive_outcome(ours.get());
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return result;
}

}  // namespace vz

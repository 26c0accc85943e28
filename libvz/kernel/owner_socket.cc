// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/owner_socket.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/vzd_protocol.h"

namespace vz {
namespace {

constexpr int kBacklog = 16;
constexpr int kNice = 10;
constexpr int kLastInQueue = (2 << 13) | 7;  // ioprio_set(2): best effort, the lowest; its header is no C++

bool not_now(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

Result<UniqueFd> listen_in(const std::string& dir, const std::string& name, uid_t uid) {
  UniqueFd at = VZ_TRY(open_file(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  return VZ_TRY_CTX(listen_local(fmt::format("/proc/self/fd/{}/{}", at.get(), name), SOCK_STREAM, kBacklog, uid),
                    dir + "/" + name);
}

Result<std::optional<std::string>> receive_some(int fd) {
  char buffer[4096];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n >= 0) return std::optional(std::string(buffer, static_cast<std::size_t>(n)));
  if (not_now(errno)) return std::optional<std::string>();
  return fail_errno("read");
}

Result<std::size_t> send_some(int sock, std::string_view data) {
  const ssize_t n = ::send(sock, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n >= 0) return static_cast<std::size_t>(n);
  if (not_now(errno)) return std::size_t{0};
  return fail_errno("send");
}

void end_sending(int sock) { (void)::shutdown(sock, SHUT_WR); }

Result<Pipe> open_pipe() {
  Pipe out = VZ_TRY(make_pipe());
  if (::fcntl(out.read_end.get(), F_SETFL, O_NONBLOCK) < 0) return fail_errno("fcntl");
  return out;
}

void work_in_background() {
  (void)::setpriority(PRIO_PROCESS, 0, kNice);
  (void)::syscall(SYS_ioprio_set, /*process*/ 1, 0, kLastInQueue);
}

}  // namespace vz

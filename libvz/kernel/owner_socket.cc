// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/owner_socket.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"

namespace vz {
namespace {

constexpr int kBacklog = 16;
constexpr int kNice = 10;
constexpr int kLastInQueue = (2 << 13) | 7;  // ioprio_set(2): best effort, the lowest; its header is no C++

bool not_now(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

Result<UniqueFd> listen_in(const std::string& dir, const std::string& name, uid_t uid) {
  UniqueFd at = VZ_TRY(open_file(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  const std::string fresh = name + ".new";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", at.get(), fresh);
  if (path.size() >= sizeof address.sun_path) return fail(Code::system, "socket name " + name + " is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd sock(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!sock) return fail_errno("socket AF_UNIX");
  if (::unlinkat(at.get(), fresh.c_str(), 0) < 0 && errno != ENOENT) return fail_errno("remove " + dir + "/" + fresh);
  if (::fchmod(sock.get(), 0600) < 0) return fail_errno("chmod of the socket");  // the file's mode, before it exists
  if (::bind(sock.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return fail_errno("bind " + dir + "/" + fresh);
  if (::fchownat(at.get(), fresh.c_str(), uid, uid, AT_SYMLINK_NOFOLLOW) < 0)
    return fail_errno("chown " + dir + "/" + fresh);
  if (::listen(sock.get(), kBacklog) < 0) return fail_errno("listen on " + dir + "/" + fresh);
  if (::renameat(at.get(), fresh.c_str(), at.get(), name.c_str()) < 0) return fail_errno("rename " + dir + "/" + fresh);
  return sock;
}

Result<std::optional<Peer>> accept_peer(const UniqueFd& listener) {
  Peer peer;
  peer.sock.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!peer.sock) {
    if (not_now(errno) || errno == ECONNABORTED) return std::optional<Peer>();
    return fail_errno("accept");
  }
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(peer.sock.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
    return fail_errno("SO_PEERCRED");
  peer.uid = credentials.uid;
  return std::optional(std::move(peer));
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

Result<std::pair<UniqueFd, UniqueFd>> open_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno("pipe");
  std::pair<UniqueFd, UniqueFd> out{UniqueFd(ends[0]), UniqueFd(ends[1])};
  if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) return fail_errno("fcntl");
  return out;
}

void work_in_background() {
  (void)::setpriority(PRIO_PROCESS, 0, kNice);
  (void)::syscall(SYS_ioprio_set, /*process*/ 1, 0, kLastInQueue);
}

std::string device_of(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return {};
  return fmt::format("{}:{}", ::major(st.st_dev), ::minor(st.st_dev));
}

}  // namespace vz

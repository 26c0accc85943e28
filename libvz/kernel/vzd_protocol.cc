// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/vzd_protocol.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace vz {
namespace {

constexpr std::size_t kMaxFds = 4;

Result<sockaddr_un> local_address(const std::string& path) {
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  if (path.size() >= sizeof(addr.sun_path)) return fail(Code::system, "socket path " + path + " is too long");
  std::memcpy(addr.sun_path, path.c_str(), path.size() + 1);
  return addr;
}

Result<UniqueFd> local_socket(int type) {
  UniqueFd sock(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!sock) return fail_errno("socket AF_UNIX");
  return sock;
}

void take_fds(msghdr& header, std::vector<UniqueFd>& out) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < n; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      out.emplace_back(fd);
    }
  }
}

}  // namespace

Result<> send_message(int sock, const void* data, std::size_t size, const std::vector<int>& fds) {
  if (fds.size() > kMaxFds) return fail(Code::system, "too many descriptors for one message");
  iovec part{const_cast<void*>(data), size};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t n;
  do n = ::sendmsg(sock, &header, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("send to the local socket");
  return {};
}

Result<Message> receive_message(int sock, void* data, std::size_t size) {
  iovec part{data, size};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n;
  // MSG_TRUNC returns the datagram's real length; the kernel closes descriptors beyond kMaxFds by itself.
  do n = ::recvmsg(sock, &header, MSG_CMSG_CLOEXEC | MSG_TRUNC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("receive from the local socket");
  Message message;
  message.size = static_cast<std::size_t>(n);
  take_fds(header, message.fds);
  return message;
}

Result<UniqueFd> connect_local(const std::string& path) {
  sockaddr_un addr = VZ_TRY(local_address(path));
  UniqueFd sock = VZ_TRY(local_socket(SOCK_SEQPACKET));
  if (::connect(sock.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr) < 0) return fail_errno("connect " + path);
  return sock;
}

Result<UniqueFd> listen_local(const std::string& path, int type, int backlog, std::optional<uid_t> owner) {
  std::string fresh = path + ".new";
  sockaddr_un addr = VZ_TRY(local_address(fresh));
  UniqueFd sock = VZ_TRY(local_socket(type | SOCK_NONBLOCK));
  if (::unlink(fresh.c_str()) < 0 && errno != ENOENT) return fail_errno("remove " + fresh);
  if (::fchmod(sock.get(), 0600) < 0) return fail_errno("chmod of the socket");  // the file's mode, before it exists
  if (::bind(sock.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr) < 0) return fail_errno("bind " + fresh);
  if (owner && ::lchown(fresh.c_str(), *owner, *owner) < 0) return fail_errno("chown " + fresh);
  if (::listen(sock.get(), backlog) < 0) return fail_errno("listen on " + fresh);
  if (::rename(fresh.c_str(), path.c_str()) < 0) return fail_errno("rename " + fresh);
  return sock;
}

Result<std::optional<Peer>> accept_peer(const UniqueFd& listener) {
  UniqueFd sock(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!sock) {
    if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return std::optional<Peer>();
    return fail_errno("accept");
  }
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(sock.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return fail_errno("SO_PEERCRED");
  return Peer{std::move(sock), peer.uid};
}

Result<UniqueFd> accept_local(const UniqueFd& listener) {
  auto peer = VZ_TRY(accept_peer(listener));
  if (!peer || (peer->uid != 0 && peer->uid != ::geteuid())) return UniqueFd();
  return std::move(peer->sock);
}

Result<> make_patient(int sock) {
  const timeval limit{5, 0};
  if (::setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0) return fail_errno("socket timeout");
  const int flags = ::fcntl(sock, F_GETFL);
  if (flags < 0 || ::fcntl(sock, F_SETFL, flags & ~O_NONBLOCK) < 0) return fail_errno("fcntl");
  return {};
}

Result<UniqueFd> lock_instance(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno("open " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
    if (errno == EWOULDBLOCK) return UniqueFd();
    return fail_errno("lock " + path);
  }
  // For people and scripts; the lock itself is what counts.
  std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) < 0 || ::write(fd.get(), pid.data(), pid.size()) < 0) return fail_errno("write " + path);
  return fd;
}

bool is_pty_master(int fd) {
  unsigned number;
  return ::ioctl(fd, TIOCGPTN, &number) == 0;
}

bool is_pidfd(int fd) {
  // Signal 0 does nothing; only a descriptor that is not a pidfd gives EBADF.
  return ::syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0) == 0 || errno == ESRCH || errno == EPERM;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/child_channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace vz {

Result<ChildChannel> ChildChannel::open() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno("socketpair");
  return ChildChannel{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

int send_message(int socket, const ChildMessage& message, int fd) {
  iovec data{const_cast<ChildMessage*>(&message), sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  for (;;) {
    if (::sendmsg(socket, &header, MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return -1;
  }
}

void set_object(ChildMessage& message, const char* object) {
  std::size_t i = 0;
  for (; object && object[i] && i + 1 < sizeof message.object; ++i) message.object[i] = object[i];
  message.object[i] = '\0';
}

Result<std::optional<Received>> receive_message(int socket) {
  Received out;
  iovec data{&out.message, sizeof out.message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n;
  do n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return std::optional<Received>();
  if (n < 0) return fail_errno("receive from a child");
  if (cmsghdr* c = CMSG_FIRSTHDR(&header); c && c->cmsg_type == SCM_RIGHTS) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
    out.fd.reset(fd);
  }
  if (n != sizeof out.message) return fail(Code::system, "a child sent a short message");
  out.message.object[sizeof out.message.object - 1] = '\0';
  return std::optional<Received>(std::move(out));
}

}  // namespace vz

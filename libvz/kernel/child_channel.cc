// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/child_channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "libvz/kernel/fd_passing.h"

namespace vz {

Result<ChildChannel> ChildChannel::open() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno("socketpair");
  return ChildChannel{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

int send_message(int socket, const ChildMessage& message, int fd) {
  iovec data{const_cast<ChildMessage*>(&message), sizeof message};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  return send_with_fd(socket, header, fd) < 0 ? -1 : 0;
}

void set_object(ChildMessage& message, const char* object) {
  std::size_t i = 0;
  for (; object && object[i] && i + 1 < sizeof message.object; ++i) message.object[i] = object[i];
  message.object[i] = '\0';
}

Result<std::optional<Received>> receive_message(int socket) {
  Received out;
  iovec data{&out.message, sizeof out.message};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  ssize_t n = receive_with_fd(socket, header, &out.fd);
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return std::optional<Received>();
  if (n < 0) return fail_errno("receive from a child");
  if (n != sizeof out.message) return fail(Code::system, "a child sent a short message");
  out.message.object[sizeof out.message.object - 1] = '\0';
  return std::optional<Received>(std::move(out));
}

}  // namespace vz

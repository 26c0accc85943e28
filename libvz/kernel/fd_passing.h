// SPDX-License-Identifier: LGPL-2.1-or-later
// SCM_RIGHTS, unix(7): one descriptor beside the data of a message. Only system calls, no allocation: a child between
// clone and exec uses it too.
#pragma once

#include <cerrno>
#include <cstring>

#include <sys/socket.h>

#include "libvz/base/fd.h"

namespace vz {

// sendmsg(2) with `fd` attached (-1: none); repeats after a signal, never raises SIGPIPE. -1 with errno.
inline ssize_t send_with_fd(int socket, msghdr header, int fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  ssize_t n;
  do n = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n;
}

// recvmsg(2) of one message and at most one descriptor. -1 with errno.
inline ssize_t receive_with_fd(int socket, msghdr header, UniqueFd* fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n;
  do n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return n;
  if (cmsghdr* c = CMSG_FIRSTHDR(&header); c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
    int raw;
    std::memcpy(&raw, CMSG_DATA(c), sizeof raw);
    fd->reset(raw);
  }
  return n;
}

// The same of one plain value; both ends know its type.
template <class T>
ssize_t send_value_with_fd(int socket, T value, int fd) {
  iovec data{&value, sizeof value};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  return send_with_fd(socket, header, fd);
}
template <class T>
ssize_t receive_value_with_fd(int socket, T* value, UniqueFd* fd) {
  iovec data{value, sizeof *value};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  return receive_with_fd(socket, header, fd);
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/service.h"

#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libvz/base/text.h"

#include "libvz/kernel/fd_passing.h"

namespace vz {
namespace {

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value ? value : "";
}

}  // namespace

std::optional<ServiceManager> ServiceManager::from_environment() {
  ServiceManager manager;
  manager.address_ = environment("NOTIFY_SOCKET");
  if (manager.address_.size() < 2 || manager.address_.size() >= sizeof(sockaddr_un::sun_path)) return std::nullopt;
  if (manager.address_[0] != '/' && manager.address_[0] != '@') return std::nullopt;
  manager.sock_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto count = parse_u64(environment("LISTEN_FDS"));
  if (!count || environment("LISTEN_PID") != std::to_string(::getpid())) return manager;
  auto names = split(environment("LISTEN_FDNAMES"), ':');
  for (std::size_t i = 0; i < *count && i < 100000; ++i) {
    int fd = 3 + static_cast<int>(i);  // SD_LISTEN_FDS_START
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) continue;
    UniqueFd owned(fd);
    if (i < names.size()) manager.stored_[names[i]] = std::move(owned);
  }
  return manager;
}

std::map<std::string, UniqueFd> ServiceManager::take_stored() { return std::exchange(stored_, {}); }

void ServiceManager::notify(std::string_view text, int fd) const {
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  std::memcpy(addr.sun_path, address_.data(), address_.size());
  if (addr.sun_path[0] == '@') addr.sun_path[0] = '\0';  // abstract
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr header{};
  header.msg_name = &addr;
  header.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  (void)send_with_fd(sock_.get(), header, fd);
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/netlink_dump.h"

#include <cerrno>
#include <cstring>
#include <vector>

#include <sys/socket.h>

#include <linux/netlink.h>

namespace vz {

namespace {

constexpr std::size_t kBuffer = 64u << 10;  // the kernel fills at most 32 KiB per answer

// One datagram of the answer; false: it was the last one.
Result<bool> take_messages(const char* data, std::size_t size, const std::function<void(const nlmsghdr&)>& on_message) {
  while (size >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, data, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size) break;
    if (header.nlmsg_type == NLMSG_DONE) return false;
    if (header.nlmsg_type == NLMSG_ERROR) {
      int error = 0;
      if (header.nlmsg_len >= NLMSG_HDRLEN + sizeof error) std::memcpy(&error, data + NLMSG_HDRLEN, sizeof error);
      return fail(Error::from_errno(-error, "netlink dump", Code::unsupported));
    }
    on_message(*reinterpret_cast<const nlmsghdr*>(data));
    const std::size_t step = std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), size);
    data += step;
    size -= step;
  }
  return true;
}

}  // namespace

Result<UniqueFd> open_netlink(int family) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family));
  if (!fd) return fail_errno("open a netlink socket", Code::unsupported);
  return fd;
}

Result<> netlink_dump(const UniqueFd& socket, int type, std::span<const unsigned char> request,
                      const std::function<void(const nlmsghdr&)>& on_message) {
  std::vector<char> message(NLMSG_SPACE(request.size()));
  nlmsghdr header{};
  header.nlmsg_len = static_cast<__u32>(NLMSG_LENGTH(request.size()));
  header.nlmsg_type = static_cast<__u16>(type);
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  std::memcpy(message.data(), &header, sizeof header);
  std::memcpy(message.data() + NLMSG_HDRLEN, request.data(), request.size());
  if (::send(socket.get(), message.data(), message.size(), 0) < 0) return fail_errno("ask for a netlink dump");
  std::vector<char> buffer(kBuffer);
  for (;;) {
    ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read a netlink dump");
    if (got == 0) return {};
    if (!VZ_TRY(take_messages(buffer.data(), static_cast<std::size_t>(got), on_message))) return {};
  }
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/packet_socket.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace vz {

namespace {

constexpr std::size_t kFrameMax = (64u << 10) + 256;  // what receive offload makes of many

}  // namespace

Result<PacketSocket> PacketSocket::open(const std::string& link) {
  const auto index = if_nametoindex(link.c_str());
  if (index == 0) return fail_errno("network device " + link);
  // Protocol 0: nothing is received before it is bound.
  UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("packet socket");
  return PacketSocket(std::move(fd), link, static_cast<int>(index));
}

Result<std::optional<MacAddress>> PacketSocket::mac() const {
  ifreq request{};
  std::strncpy(request.ifr_name, link_.c_str(), sizeof request.ifr_name - 1);
  if (ioctl(fd_.get(), SIOCGIFHWADDR, &request) != 0) return fail_errno("address of " + link_);
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) return std::optional<MacAddress>();
  MacAddress out;
  std::memcpy(out.bytes, request.ifr_hwaddr.sa_data, sizeof out.bytes);
  return std::optional<MacAddress>(out);
}

Result<> PacketSocket::bind_to(std::uint16_t protocol) const {
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(protocol);
  where.sll_ifindex = index_;
  if (bind(fd_.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0)
    return fail_errno("bind to " + link_);
  return {};
}

Result<> PacketSocket::send(std::string_view frame) const {
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_ifindex = index_;
  const auto sent =
      sendto(fd_.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&where), sizeof where);
  if (sent < 0) return fail_errno("send on " + link_);
  return {};
}

Result<> PacketSocket::with_offload_header() {
  const int on = 1;
  if (setsockopt(fd_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0) return fail_errno("PACKET_VNET_HDR");
  return {};
}

Result<> PacketSocket::listen(const sock_filter* filter, std::size_t length, std::uint32_t bytes) {
  sock_fprog program{};
  program.len = static_cast<unsigned short>(length);
  program.filter = const_cast<sock_filter*>(filter);
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return fail_errno("packet filter on " + link_);
  const int size = static_cast<int>(bytes);
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
    (void)setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  VZ_TRY(with_offload_header());
  return bind_to(ETH_P_ALL);
}

Result<std::optional<std::string>> PacketSocket::receive() const {
  std::string frame(kFrameMax, '\0');
  const auto got = recv(fd_.get(), frame.data(), frame.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == ENETDOWN)) return std::optional<std::string>();
  if (got < 0) return fail_errno("receive on " + link_);
  frame.resize(static_cast<std::size_t>(got));
  return std::optional<std::string>(std::move(frame));
}

}  // namespace vz

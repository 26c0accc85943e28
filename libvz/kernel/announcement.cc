// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/announcement.h"

#include <linux/if_ether.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>

#include <cstring>

#include "libvz/kernel/packet_socket.h"

namespace vz {

namespace {

void put(std::string& out, std::uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value & 0xff);
}
void put(std::string& out, const void* bytes, std::size_t size) { out.append(static_cast<const char*>(bytes), size); }

// RFC 1071.
std::uint16_t checksum(const std::string& data) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < data.size(); i += 2) {
    const auto high = static_cast<unsigned char>(data[i]);
    const auto low = i + 1 < data.size() ? static_cast<unsigned char>(data[i + 1]) : 0;
    sum += static_cast<std::uint32_t>(high << 8 | low);
  }
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::string arp_frame(const MacAddress& mac, const IpAddress& a) {
  std::string out(ETH_ALEN, '\xff');
  put(out, mac.bytes, ETH_ALEN);
  put(out, ETH_P_ARP);
  put(out, ARPHRD_ETHER);
  put(out, ETH_P_IP);
  out += '\x06';
  out += '\x04';
  put(out, ARPOP_REQUEST);
  put(out, mac.bytes, ETH_ALEN);
  put(out, a.bytes, 4);
  out.append(ETH_ALEN, '\0');
  put(out, a.bytes, 4);
  return out;
}

// To all nodes, from the address itself.
std::string neighbour_frame(const MacAddress& mac, const IpAddress& a) {
  const unsigned char all_nodes[16] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  std::string message;
  message += static_cast<char>(ND_NEIGHBOR_ADVERT);
  message += '\0';
  put(message, std::uint16_t{0});  // checksum, below
  message += '\x20';               // override what is known
  message.append(3, '\0');
  put(message, a.bytes, 16);
  message += static_cast<char>(ND_OPT_TARGET_LINKADDR);
  message += '\x01';
  put(message, mac.bytes, ETH_ALEN);
  std::string pseudo;
  put(pseudo, a.bytes, 16);
  put(pseudo, all_nodes, sizeof all_nodes);
  put(pseudo, std::uint16_t{0});
  put(pseudo, static_cast<std::uint16_t>(message.size()));
  pseudo.append(3, '\0');
  pseudo += static_cast<char>(IPPROTO_ICMPV6);
  const auto sum = checksum(pseudo + message);
  message[2] = static_cast<char>(sum >> 8);
  message[3] = static_cast<char>(sum & 0xff);

  const unsigned char multicast[ETH_ALEN] = {0x33, 0x33, 0, 0, 0, 1};
  std::string out;
  put(out, multicast, sizeof multicast);
  put(out, mac.bytes, ETH_ALEN);
  put(out, ETH_P_IPV6);
  out += '\x60';
  out.append(3, '\0');
  put(out, static_cast<std::uint16_t>(message.size()));
  out += static_cast<char>(IPPROTO_ICMPV6);
  out += '\xff';  // hop limit: it has crossed no router
  put(out, a.bytes, 16);
  put(out, all_nodes, sizeof all_nodes);
  return out + message;
}

}  // namespace

std::string announcement_frame(const MacAddress& mac, const IpAddress& a) {
  return a.v6 ? neighbour_frame(mac, a) : arp_frame(mac, a);
}

Result<> announce_address(const std::string& link, const IpAddress& a) {
  auto socket = VZ_TRY(PacketSocket::open(link));
  auto mac = VZ_TRY(socket.mac());
  if (!mac) return {};
  return socket.send(announcement_frame(*mac, a));
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/network_handover.h"

#include "libvz/container/network.h"
#include "libvz/kernel/announcement.h"

namespace vz {

namespace {

using Routed = std::map<std::string, std::vector<IpAddress>>;

// By uplink: the addresses that are behind it.
Result<Routed> routed_addresses(const Config& config) {
  Netlink host = VZ_TRY(Netlink::open_here());
  Routed out;
  for (const IpAddress& a : VZ_TRY(parse_ip_list(config.get("IP_ADDRESS").value_or(""))))
    for (const auto& link : VZ_TRY(uplinks(host, config, a))) out[link].push_back(a);
  return out;
}

void announce(const Routed& routed) {
  for (const auto& [link, addresses] : routed)
    for (const IpAddress& a : addresses) (void)announce_address(link, a);
}

// By the container's own devices; what they have inside only the container knows.
Result<> announce_inside(const Config& config) {
  Netlink inside = VZ_TRY(Netlink::open_here());
  for (const Netif& n : VZ_TRY(parse_netif(config.get("NETIF").value_or("")))) {
    if (!inside.link_exists(n.ifname)) continue;
    for (const IpAddress& a : VZ_TRY(inside.addresses(n.ifname))) (void)announce_address(n.ifname, a);
  }
  return {};
}

}  // namespace

void announce_network(const Config& config, const UniqueFd& netns) {
  if (auto routed = routed_addresses(config)) announce(*routed);
  if (config.get("NETIF").value_or("").empty()) return;
  (void)with_netns(netns, [&] { return announce_inside(config); });
}

Result<NetworkTakeover> NetworkTakeover::begin(const Config& config) {
  NetworkTakeover out;
  auto routed = VZ_TRY(routed_addresses(config));
  for (const auto& [link, addresses] : routed) out.keepers_.emplace(link, VZ_TRY(PacketKeeper::open(link, addresses)));
  announce(routed);
  return out;
}

Result<std::size_t> NetworkTakeover::deliver(Ctid id) {
  std::size_t count = 0;
  for (auto& [link, keeper] : keepers_) count += VZ_TRY(keeper.deliver(venet_link(id), venet_mac(id)));
  return count;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Addresses and interfaces of a container.
//
// Routed (--ipadd): one veth pair, `venet0` inside, `vz<ID>` on the host, both ends NOARP with the same MAC: no ARP, no
// ND, no bridge. Inside: the addresses and a default route on the device; host: a /32 or /128 route each, and a
// proxy neighbour entry on the uplinks whose subnet has the address. A BPF filter on the host end drops foreign
// sources. Bridged (--netif_add): veth into a bridge.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/reporter.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/idmap.h"
#include "libvz/kernel/netlink.h"
#include "libvz/kernel/netlink_state.h"

namespace vz {

struct Netif {  // one record of NETIF
  std::string ifname, bridge, mac, host_ifname, host_mac;
  bool mac_filter = true;
  bool operator==(const Netif&) const = default;
};
Result<std::vector<Netif>> parse_netif(const std::string& text);  // the file's form
std::string format_netif(const std::vector<Netif>& list);
// The option's form "if[,mac,host_if,host_mac,bridge]"; missing parts are filled: MACs random in 00:18:51, fe:18:51 on
// the host (kept in the file), host_if veth<ID>.<N>, v<ID>.<N> where that is too long for the kernel.
Result<Netif> netif_from_option(const std::string& text, Ctid id, const std::vector<Netif>& existing);

Result<std::vector<IpAddress>> parse_ip_list(const std::string& text);  // IP_ADDRESS

// The routed link: its name on the host, and the one MAC address of both its ends.
std::string venet_link(Ctid id);
MacAddress venet_mac(Ctid id);
// The links of the host on which it answers for a routed address.
Result<std::vector<std::string>> uplinks(Netlink& host, const Config& config, const IpAddress& a);

// Called with the name of each new host end while it is still down: nothing has crossed it yet.
using LinkHook = std::function<void(const std::string& link)>;

struct NetworkResult {
  std::string veth;  // "" when no address
  std::vector<std::string> bridged;
};
// Everything inside `netns` of a container that is being started (lo up, venet0, bridged interfaces, sysctls:
// net.mptcp.enabled=0). All of it dies with the namespace; only proxy entries need undo.
Result<NetworkResult> setup_network(const Config& config, Ctid id, IdMap idmap, const UniqueFd& netns,
                                    Reporter& reporter, const LinkHook& on_link);

// The same for a container that is being restored, in two steps. First the pairs, both ends in the caller's namespace
// and down: CRIU takes the ends for the inside, with the addresses and routes that they had.
struct WaitingLink {
  std::string inside;   // "venet0"
  std::string waiting;  // what it is called until then
};
struct WaitingNetwork {
  NetworkResult result;
  std::vector<WaitingLink> links;
};
Result<WaitingNetwork> prepare_network(const Config& config, Ctid id, Reporter& reporter, const LinkHook& on_link);
// Or, for a namespace that libvz can make again by itself, much faster than CRIU does. Its state is read while the
// container stands still; nullopt: CRIU has to, for what `why` says.
Result<std::optional<NetState>> read_network(const Config& config, const UniqueFd& netns, std::string* why);
// What can be wrong is said at once, and all of it is made later, in the new and empty namespace that CRIU has made.
Result<NetworkResult> check_network(const Config& config, Ctid id);
Result<> remake_network(const Config& config, Ctid id, const UniqueFd& netns, const NetState& state, Reporter& reporter,
                        const LinkHook& on_link);
// Then, when the namespace is restored and before the container runs: the host's side of it. `up`: from now on packets
// pass.
Result<> connect_network(const Config& config, Ctid id, IdMap idmap, const UniqueFd& netns, Reporter& reporter);
// Online change on a running container.
Result<> add_ip(const Config& config, Ctid id, const UniqueFd& netns, const std::vector<IpAddress>& all,
                const IpAddress& a, const LinkHook& on_link, Reporter* reporter = nullptr);
Result<> del_ip(const Config& config, Ctid id, const UniqueFd& netns, const std::vector<IpAddress>& rest,
                const IpAddress& a);
Result<> add_netif(Ctid id, const UniqueFd& netns, const Netif& netif, const LinkHook& on_link);
Result<> del_netif(Ctid id, const UniqueFd& netns, const Netif& netif);
// Host-side leftovers of a dead container: proxy neighbours, the veths (the kernel takes its time to delete a dead
// namespace). `bridged` as in NetworkResult.
Result<> cleanup_network(Ctid id, const std::vector<std::string>& addresses,
                         const std::vector<std::string>& bridged = {});

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/network.h"

#include <algorithm>
#include <cerrno>

#include "libvz/base/text.h"
#include "libvz/kernel/namespace.h"
#include "libvz/kernel/net_sysctl.h"

namespace vz {
std::string venet_link(Ctid id) { return "vz" + id.str(); }

// Both ends have this one address: with NOARP the kernel takes the device's own address for every neighbour's, so
// each end accepts what the other sends. Locally administered, and the same on every host that runs the container.
MacAddress venet_mac(Ctid id) {
  std::uint32_t v = id.value();
  return MacAddress{{0x02, 0x76, static_cast<std::uint8_t>(v >> 24), static_cast<std::uint8_t>(v >> 16),
                     static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)}};
}

// NEIGHBOUR_DEVS: unset or "detect", "list:dev dev", or empty for none.
Result<std::vector<std::string>> uplinks(Netlink& host, const Config& config, const IpAddress& a) {
  std::string setting = config.get("NEIGHBOUR_DEVS").value_or("detect");
  if (setting.empty()) return std::vector<std::string>{};
  if (setting == "detect") return host.links_with_subnet(a);
  if (setting.rfind("list:", 0) == 0) return split_blank(std::string_view(setting).substr(5));
  return fail(Error(Code::bad_config, "NEIGHBOUR_DEVS is '" + setting + "'")
                  .with_hint("use \"detect\", \"list:eth0 eth1\" or \"\""));
}

namespace {

constexpr char kInside[] = "venet0";

// Errors of the kernel become the dialect's exit code of the command; errors that say more keep their own.
Result<> as(Code code, Result<> result) {
  if (result || result.error().code() != Code::system) return result;
  return fail(std::move(result.error()).with_code(code));
}

Result<> check_free(Netlink& host, const IpAddress& a, const std::string& own_veth) {
  auto holder = VZ_TRY(host.who_has(a));
  if (!holder || *holder == own_veth) return {};
  return fail(Error(Code::ip_in_use, "IP address " + a.address() + " is already in use")
                  .with_hint("network device " + *holder + " of this host has it; see: ip route get " + a.address()));
}

// Never anything but a veth, whatever a configuration file calls its host end.
Result<> del_veth(Netlink& host, const std::string& name) {
  if (!host.is_veth(name)) return {};
  return host.del_link(name);
}

// A device of that name that only a dead container can have left is replaced.
Result<> make_veth(Netlink& host, const std::string& name, const std::string& peer, const UniqueFd& netns,
                   const std::optional<MacAddress>& mac, const std::optional<MacAddress>& peer_mac, bool replace,
                   int peer_index = 0) {
  auto made = host.add_veth(name, peer, netns, mac, peer_mac, peer_index);
  if (made || made.error().sys_errno() != EEXIST) return made;
  if (!replace)
    return fail(std::move(made.error()).with_hint("remove or rename the device of that name, on the host or inside"));
  VZ_TRY(del_veth(host, name));
  return host.add_veth(name, peer, netns, mac, peer_mac, peer_index);
}

// ---- The host's side of the routed link

// Since Linux 6.17 a device can forward IPv6 by itself. Before, only the whole host can, which makes every device
// ignore router advertisements unless accept_ra is 2: devices that used them go on using them.
Result<> forward_ip6(const std::string& veth, Reporter& reporter) {
  std::string force = "ipv6/conf/" + veth + "/force_forwarding";
  if (read_net_sysctl(force)) return write_net_sysctl(force, "1");
  if (read_net_sysctl("ipv6/conf/all/forwarding") != "0") return {};
  for (const std::string& device : list_net_sysctls("ipv6/conf")) {
    std::string accept_ra = "ipv6/conf/" + device + "/accept_ra";
    // A device that vanishes meanwhile is none of our business.
    if (device != "all" && device != veth && read_net_sysctl(accept_ra) == "1") (void)write_net_sysctl(accept_ra, "2");
  }
  VZ_TRY(write_net_sysctl("ipv6/conf/all/forwarding", "1"));
  reporter.warn("IPv6 forwarding is now on for the whole host (net.ipv6.conf.all.forwarding=1)");
  return {};
}

// A host that has no address of its own beyond loopback would talk to the container from 127.0.0.1 or ::1, which
// cannot be answered. Then, and only then, its end of the link gets a link-local address.
Result<> ensure_source(Netlink& host, const IpAddress& a, const std::string& veth) {
  if (VZ_TRY(host.source_for(a))) return {};
  IpAddress own;
  if (a.v6) own = IpAddress{true, {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128};
  if (!a.v6) own = IpAddress{false, {169, 254, 0, 1}, 32};
  return host.add_address(veth, own);
}

Result<> route_address(Netlink& host, const IpAddress& a, const std::string& veth, Reporter& reporter) {
  VZ_TRY(host.add_route(a, veth));
  if (a.v6) VZ_TRY(forward_ip6(veth, reporter));
  return ensure_source(host, a, veth);
}

// ---- Proxy neighbours

// The kernel answers for another's address only on a device that forwards (arp(7), ip-sysctl: proxy_ndp). Making
// the host a router towards its network is the administrator's decision, so it is only said.
void warn_unless_forwarding(const IpAddress& a, const std::string& link, Reporter& reporter) {
  std::string family = a.v6 ? "ipv6" : "ipv4";
  if (read_net_sysctl(family + "/conf/" + link + "/forwarding") != "0") return;
  reporter.warn("IP address " + a.address() + " cannot be reached through " + link + " while net." + family + ".conf." +
                link + ".forwarding is 0; set " + (a.v6 ? "net.ipv6.conf.all.forwarding" : "net.ipv4.ip_forward") +
                "=1 in /etc/sysctl.d");
}

Result<> add_proxies(Netlink& host, const Config& config, const IpAddress& a, Reporter& reporter) {
  for (const std::string& link : VZ_TRY(uplinks(host, config, a))) {
    VZ_TRY_CTX(host.add_proxy_neighbour(a, link), "NEIGHBOUR_DEVS");
    if (a.v6) VZ_TRY(write_net_sysctl("ipv6/conf/" + link + "/proxy_ndp", "1"));
    warn_unless_forwarding(a, link, reporter);
  }
  return {};
}

Result<> del_proxies(Netlink& host, const IpAddress& a) {
  for (const std::string& link : VZ_TRY(host.proxies_of(a))) VZ_TRY(host.del_proxy_neighbour(a, link));
  return {};
}

Result<> route_addresses(Netlink& host, const Config& config, const std::string& veth,
                         const std::vector<IpAddress>& addresses, Reporter& reporter) {
  for (const IpAddress& a : addresses) VZ_TRY(route_address(host, a, veth, reporter));
  for (const IpAddress& a : addresses) {
    // The container works on this host without its proxies: a missing uplink must not stop it from starting.
    auto proxied = add_proxies(host, config, a, reporter);
    if (!proxied) reporter.warn(proxied.error().message());
  }
  return {};
}

// ---- The container's side

// MPTCP sockets cannot be checkpointed; programs fall back to TCP when there are none. The group range lets `ping`
// work without file capabilities in the template: it is in the writer's ids, and all of the container's, because CRIU
// writes it again from inside.
Result<> prepare_namespace(IdMap idmap) {
  std::string groups = std::to_string(idmap.base) + " " + std::to_string(idmap.base + idmap.count - 1);
  return write_net_sysctls_apart({{"mptcp/enabled", "0"}, {"ipv4/ping_group_range", groups}});
}

Result<> add_inside(Netlink& inside, const IpAddress& a) {
  VZ_TRY(inside.add_address(kInside, a));
  return inside.add_default_route(kInside, a.v6);
}

// The pair, still down. Neither end gets an IPv6 link-local address: both would be made from the same MAC. Without one
// the kernel sends no router solicitation, and the filter lets no advertisement through.
Result<> make_venet(Netlink& host, Netlink& inside, Ctid id, const UniqueFd& netns, bool starting,
                    const LinkHook& on_link) {
  std::string veth = venet_link(id);
  VZ_TRY(make_veth(host, veth, kInside, netns, venet_mac(id), venet_mac(id), starting));
  on_link(veth);
  VZ_TRY(inside.set_routed(kInside, false));
  return host.set_routed(veth, true);
}

// Filter before up: there is no moment in which the container can send with a foreign source.
Result<> venet_up(Netlink& host, Netlink& inside, const std::string& veth, const std::vector<IpAddress>& addresses) {
  VZ_TRY(set_source_filter(host, veth, {addresses, std::nullopt}));
  VZ_TRY(inside.set_up(kInside, true));
  return host.set_up(veth, true);
}

Result<> setup_routed(Netlink& host, Netlink& inside, const Config& config, Ctid id, const UniqueFd& netns,
                      const std::vector<IpAddress>& addresses, Reporter& reporter, const LinkHook& on_link) {
  std::string veth = venet_link(id);
  for (const IpAddress& a : addresses) VZ_TRY(check_free(host, a, veth));
  VZ_TRY(make_venet(host, inside, id, netns, true, on_link));
  VZ_TRY(venet_up(host, inside, veth, addresses));
  for (const IpAddress& a : addresses) VZ_TRY(add_inside(inside, a));
  return route_addresses(host, config, veth, addresses, reporter);
}

// ---- Bridged

bool is_own_name(Ctid id, const std::string& host_ifname) {
  return host_ifname.rfind("veth" + id.str() + ".", 0) == 0 || host_ifname.rfind("v" + id.str() + ".", 0) == 0;
}

Result<std::optional<MacAddress>> mac_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return VZ_TRY(MacAddress::parse(text));
}

Result<> check_bridge(Netlink& host, const Netif& n) {
  if (n.host_ifname.empty()) return fail(Code::bad_config, "interface " + n.ifname + " has no host_ifname");
  if (n.mac_filter && n.mac.empty())
    return fail(Error(Code::bad_config, "interface " + n.ifname + " has no MAC address to filter by")
                    .with_hint("set --mac, or --mac_filter off"));
  if (!n.bridge.empty() && !host.link_exists(n.bridge))
    return fail(
        Error(Code::netdev, "bridge " + n.bridge + " of interface " + n.ifname + " does not exist")
            .with_hint("create it: ip link add " + n.bridge + " type bridge && ip link set " + n.bridge + " up"));
  return {};
}

Result<> connect_netif(Netlink& host, const Netif& n, const std::optional<MacAddress>& mac) {
  if (n.mac_filter) VZ_TRY(set_source_filter(host, n.host_ifname, {{}, mac}));
  if (!n.bridge.empty()) {
    // A bridge port is no end point of its own: without this the container could talk to the host's link-local
    // address behind the bridge's filters.
    VZ_TRY(write_net_sysctl_if_present("ipv6/conf/" + n.host_ifname + "/disable_ipv6", "1"));
    VZ_TRY(host.set_master(n.host_ifname, n.bridge));
  }
  return host.set_up(n.host_ifname, false);
}

// The interface inside stays down: the container's own network configuration sets it up.
Result<> setup_bridged(Netlink& host, const UniqueFd& netns, const Netif& n, bool replace, const LinkHook& on_link) {
  VZ_TRY(check_bridge(host, n));
  auto mac = VZ_TRY(mac_of(n.mac));
  auto host_mac = VZ_TRY(mac_of(n.host_mac));
  VZ_TRY(make_veth(host, n.host_ifname, n.ifname, netns, host_mac, mac, replace));
  on_link(n.host_ifname);
  auto connected = connect_netif(host, n, mac);
  if (!connected) (void)host.del_link(n.host_ifname);
  return connected;
}

// ---- Restored

std::string waiting_name(Ctid id, std::size_t index) {
  std::string name = "vt" + id.str();
  return index == 0 ? name : name + "." + std::to_string(index);
}

// A pair to be made, as the configuration has it.
struct Pair {
  std::string host, inside;
  std::optional<MacAddress> mac, inside_mac;
  bool routed, replace;
};

// What can be wrong without a namespace is said here.
Result<std::vector<Pair>> plan_pairs(Netlink& host, const Config& config, Ctid id) {
  std::vector<Pair> out;
  auto addresses = VZ_TRY(parse_ip_list(config.get("IP_ADDRESS").value_or("")));
  if (!addresses.empty()) {
    std::string veth = venet_link(id);
    for (const IpAddress& a : addresses) VZ_TRY(as(Code::add_ip, check_free(host, a, veth)));
    out.push_back({veth, kInside, venet_mac(id), venet_mac(id), true, true});
  }
  for (const Netif& n : VZ_TRY(parse_netif(config.get("NETIF").value_or("")))) {
    VZ_TRY(check_bridge(host, n));
    auto host_mac = VZ_TRY(mac_of(n.host_mac));
    auto mac = VZ_TRY(mac_of(n.mac));
    out.push_back({n.host_ifname, n.ifname, host_mac, mac, false, is_own_name(id, n.host_ifname)});
  }
  return out;
}

NetworkResult result_of(const std::vector<Pair>& pairs) {
  NetworkResult out;
  for (const Pair& p : pairs) {
    if (p.routed)
      out.veth = p.host;
    else
      out.bridged.push_back(p.host);
  }
  return out;
}

Result<WaitingNetwork> make_all_waiting(Netlink& host, const Config& config, Ctid id, const LinkHook& on_link) {
  WaitingNetwork out;
  const auto pairs = VZ_TRY(plan_pairs(host, config, id));
  UniqueFd here = VZ_TRY(open_own_namespace("net"));
  for (const Pair& p : pairs) {
    WaitingLink link{p.inside, waiting_name(id, out.links.size())};
    VZ_TRY(del_veth(host, link.waiting));
    VZ_TRY(make_veth(host, p.host, link.waiting, here, p.mac, p.inside_mac, p.replace));
    out.links.push_back(std::move(link));
    on_link(p.host);
  }
  out.result = result_of(pairs);
  return out;
}

// With the index that it had: packet sockets, link-local addresses and routes go by it.
Result<> make_inside(Netlink& host, const Pair& pair, const UniqueFd& netns, const NetState& state) {
  auto had = std::find_if(state.devices.begin(), state.devices.end(),
                          [&](const NetDevice& d) { return d.name == pair.inside; });
  const int index = had == state.devices.end() ? 0 : had->index;
  return make_veth(host, pair.host, pair.inside, netns, pair.mac, pair.inside_mac, pair.replace, index);
}

Result<NetworkResult> setup_links(const Config& config, Ctid id, const UniqueFd& netns, Netlink& host, Netlink& inside,
                                  Reporter& reporter, const LinkHook& on_link) {
  NetworkResult result;
  VZ_TRY(inside.set_up("lo", false));
  auto addresses = VZ_TRY(parse_ip_list(config.get("IP_ADDRESS").value_or("")));
  auto netifs = VZ_TRY(parse_netif(config.get("NETIF").value_or("")));
  if (!addresses.empty()) {
    VZ_TRY(as(Code::add_ip, setup_routed(host, inside, config, id, netns, addresses, reporter, on_link)));
    result.veth = venet_link(id);
  }
  for (const Netif& n : netifs) {
    VZ_TRY(as(Code::veth, setup_bridged(host, netns, n, is_own_name(id, n.host_ifname), on_link)));
    result.bridged.push_back(n.host_ifname);
  }
  return result;
}

Result<> plug_address(Netlink& host, const Config& config, Ctid id, const UniqueFd& netns,
                      const std::vector<IpAddress>& all, const IpAddress& a, Reporter& reporter,
                      const LinkHook& on_link) {
  std::string veth = venet_link(id);
  Netlink inside = VZ_TRY(Netlink::open_in(netns));
  if (!host.link_exists(veth)) VZ_TRY(make_venet(host, inside, id, netns, false, on_link));
  VZ_TRY(venet_up(host, inside, veth, all));
  VZ_TRY(add_inside(inside, a));
  VZ_TRY(route_address(host, a, veth, reporter));
  return add_proxies(host, config, a, reporter);
}

}  // namespace

Result<WaitingNetwork> prepare_network(const Config& config, Ctid id, Reporter&, const LinkHook& on_link) {
  Netlink host = VZ_TRY(Netlink::open_here());
  auto made = make_all_waiting(host, config, id, on_link);
  if (!made) (void)cleanup_network(id, {});
  return made;
}

Result<std::optional<NetState>> read_network(const Config& config, const UniqueFd& netns, std::string* why) {
  // What setup_links() makes.
  std::vector<std::string> devices;
  if (!config.words("IP_ADDRESS").empty()) devices.push_back(kInside);
  for (const Netif& n : VZ_TRY(parse_netif(config.get("NETIF").value_or("")))) devices.push_back(n.ifname);
  std::optional<NetState> out;
  VZ_TRY(with_netns(netns, [&]() -> Result<> {
    out = VZ_TRY(read_net_state(devices, why));
    return {};
  }));
  return out;
}

Result<NetworkResult> check_network(const Config& config, Ctid id) {
  Netlink host = VZ_TRY(Netlink::open_here());
  return result_of(VZ_TRY(plan_pairs(host, config, id)));
}

Result<> remake_network(const Config& config, Ctid id, const UniqueFd& netns, const NetState& state, Reporter& reporter,
                        const LinkHook& on_link) {
  Netlink host = VZ_TRY(Netlink::open_here());
  for (const Pair& p : VZ_TRY(plan_pairs(host, config, id))) {
    VZ_TRY(make_inside(host, p, netns, state));
    on_link(p.host);
  }
  return with_netns(netns, [&]() -> Result<> {
    if (Netlink inside = VZ_TRY(Netlink::open_here()); inside.link_exists(kInside))
      VZ_TRY(inside.set_routed(kInside, false));
    for (const auto& lost : VZ_TRY(write_net_state(state))) reporter.warn("Warning: not as it was: " + lost);
    return {};
  });
}

namespace {

// The kernel makes one when CRIU sets the device up; a started container has none (make_venet).
Result<> drop_link_local(Netlink& inside) {
  for (const IpAddress& a : VZ_TRY(inside.addresses(kInside)))
    if (a.v6 && a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0x80) VZ_TRY(inside.del_address(kInside, a));
  return {};
}

}  // namespace

Result<> connect_network(const Config& config, Ctid id, IdMap idmap, const UniqueFd& netns, Reporter& reporter) {
  Netlink host = VZ_TRY(Netlink::open_here());
  std::optional<Netlink> inside;
  VZ_TRY(with_netns(netns, [&]() -> Result<> {
    VZ_TRY(prepare_namespace(idmap));
    inside = VZ_TRY(Netlink::open_here());
    return {};
  }));
  auto addresses = VZ_TRY(parse_ip_list(config.get("IP_ADDRESS").value_or("")));
  if (!addresses.empty()) {
    std::string veth = venet_link(id);
    VZ_TRY(host.set_routed(veth, true));
    VZ_TRY(inside->set_routed(kInside, false));
    VZ_TRY(drop_link_local(*inside));
    VZ_TRY(venet_up(host, *inside, veth, addresses));
    VZ_TRY(route_addresses(host, config, veth, addresses, reporter));
  }
  for (const Netif& n : VZ_TRY(parse_netif(config.get("NETIF").value_or("")))) {
    auto mac = VZ_TRY(mac_of(n.mac));
    VZ_TRY(connect_netif(host, n, mac));
  }
  return {};
}

Result<NetworkResult> setup_network(const Config& config, Ctid id, IdMap idmap, const UniqueFd& netns,
                                    Reporter& reporter, const LinkHook& on_link) {
  Netlink host = VZ_TRY(Netlink::open_here());
  std::optional<Netlink> inside;
  VZ_TRY(with_netns(netns, [&]() -> Result<> {
    VZ_TRY(prepare_namespace(idmap));
    inside = VZ_TRY(Netlink::open_here());
    return {};
  }));
  auto result = setup_links(config, id, netns, host, *inside, reporter, on_link);
  // The namespace takes its devices with it, but not at once, and never the proxies.
  if (!result) (void)cleanup_network(id, config.words("IP_ADDRESS"));
  return result;
}

Result<> add_ip(const Config& config, Ctid id, const UniqueFd& netns, const std::vector<IpAddress>& all,
                const IpAddress& a, const LinkHook& on_link, Reporter* reporter) {
  Reporter quiet;
  Netlink host = VZ_TRY(Netlink::open_here());
  VZ_TRY(as(Code::add_ip, check_free(host, a, venet_link(id))));
  auto added = plug_address(host, config, id, netns, all, a, reporter ? *reporter : quiet, on_link);
  if (added) return {};
  std::vector<IpAddress> rest;
  std::copy_if(all.begin(), all.end(), std::back_inserter(rest),
               [&](const IpAddress& o) { return !o.same_address(a); });
  (void)del_ip(config, id, netns, rest, a);
  return as(Code::add_ip, std::move(added));
}

Result<> del_ip(const Config&, Ctid id, const UniqueFd& netns, const std::vector<IpAddress>& rest, const IpAddress& a) {
  std::string veth = venet_link(id);
  Netlink host = VZ_TRY(Netlink::open_here());
  VZ_TRY(as(Code::ip, del_proxies(host, a)));
  VZ_TRY(as(Code::ip, host.del_route(a, veth)));
  Netlink inside = VZ_TRY(Netlink::open_in(netns));
  VZ_TRY(as(Code::ip, inside.del_address(kInside, a)));
  if (!host.link_exists(veth)) return {};
  return as(Code::ip, set_source_filter(host, veth, {rest, std::nullopt}));
}

Result<> add_netif(Ctid, const UniqueFd& netns, const Netif& netif, const LinkHook& on_link) {
  Netlink host = VZ_TRY(Netlink::open_here());
  return as(Code::veth, setup_bridged(host, netns, netif, false, on_link));
}

Result<> del_netif(Ctid, const UniqueFd&, const Netif& netif) {
  if (netif.host_ifname.empty()) return {};
  Netlink host = VZ_TRY(Netlink::open_here());
  return as(Code::veth, del_veth(host, netif.host_ifname));
}

Result<> cleanup_network(Ctid id, const std::vector<std::string>& addresses, const std::vector<std::string>& bridged) {
  Netlink host = VZ_TRY(Netlink::open_here());
  VZ_TRY(del_veth(host, venet_link(id)));
  for (const std::string& name : bridged) VZ_TRY(del_veth(host, name));
  for (const std::string& text : addresses) {
    auto a = IpAddress::parse(text);
    if (!a) continue;  // never was set up
    // Still routed: another container has taken it over, and its proxies with it.
    if (!VZ_TRY(host.who_has(*a))) VZ_TRY(del_proxies(host, *a));
  }
  return {};
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Links, addresses, routes and neighbours, by libnl; one socket per network namespace.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"

struct nl_sock;

namespace vz {

// An IPv4 or IPv6 address with prefix length. Text form as in `ip`: "10.0.0.5", "fd00::5", "10.0.0.5/24".
struct IpAddress {
  bool v6 = false;
  std::uint8_t bytes[16] = {};
  unsigned prefix = 32;
  // Code::bad_value for everything but a valid unicast address (no 0.0.0.0, multicast, loopback, v4-mapped).
  static Result<IpAddress> parse(const std::string& text);
  std::string str() const;      // without prefix when it is a host address
  std::string address() const;  // never with prefix
  bool same_address(const IpAddress& o) const;
  bool operator==(const IpAddress& o) const = default;
};

struct MacAddress {
  std::uint8_t bytes[6] = {};
  static Result<MacAddress> parse(const std::string& text);  // unicast only
  std::string str() const;
};

// A route netlink socket bound to one network namespace for its whole life.
class Netlink {
 public:
  static Result<Netlink> open_here();
  static Result<Netlink> open_in(const UniqueFd& netns);  // the caller's namespace is restored before return
  Netlink(Netlink&&) noexcept;
  Netlink& operator=(Netlink&&) noexcept;
  ~Netlink();

  // Both ends; `peer_ns` receives the peer. Equal MACs are allowed (routed point-to-point without ARP).
  Result<> add_veth(const std::string& name, const std::string& peer, const UniqueFd& peer_ns,
                    const std::optional<MacAddress>& mac, const std::optional<MacAddress>& peer_mac,
                    int peer_index = 0);       // 0: one that is free
  Result<> del_link(const std::string& name);  // missing is fine
  bool link_exists(const std::string& name);
  bool is_veth(const std::string& name);  // false also when there is no such link
  Result<> set_up(const std::string& name, bool noarp);
  // For a device that is still down: it makes no IPv6 link-local address when it goes up; with `forward_ip4` the
  // namespace forwards IPv4 that arrives on it.
  Result<> set_routed(const std::string& name, bool forward_ip4);
  Result<> set_master(const std::string& name, const std::string& bridge);
  Result<> add_address(const std::string& link, const IpAddress& a);  // existing is fine; IPv6 without DAD
  Result<> del_address(const std::string& link, const IpAddress& a);  // missing is fine
  Result<std::vector<IpAddress>> addresses(const std::string& link);
  Result<> add_route(const IpAddress& dst, const std::string& link);  // /32, /128; existing on the same link is fine
  Result<> del_route(const IpAddress& dst, const std::string& link);  // missing is fine
  Result<> add_default_route(const std::string& link, bool v6);       // scope link, no gateway
  // Is the address an own one of this namespace, or routed to some link? Returns the link's name.
  Result<std::optional<std::string>> who_has(const IpAddress& a);
  Result<> add_proxy_neighbour(const IpAddress& a, const std::string& link);
  Result<> del_proxy_neighbour(const IpAddress& a, const std::string& link);
  // Up, broadcast-capable links that have a subnet containing `a` (NEIGHBOUR_DEVS=detect).
  Result<std::vector<std::string>> links_with_subnet(const IpAddress& a);

  // The source address that this namespace uses towards `dst`; nullopt: no route, or no source that can be answered.
  Result<std::optional<IpAddress>> source_for(const IpAddress& dst);
  // The links that answer ARP or ND for `a`.
  Result<std::vector<std::string>> proxies_of(const IpAddress& a);
  // Every frame that arrives on `link` goes through the BPF classifier `program` (direct action); an earlier one is
  // replaced atomically. Code::unsupported when the kernel has no clsact or no cls_bpf.
  Result<> set_ingress_program(const std::string& link, int program, const std::string& label);

  nl_sock* socket() const { return sock_; }  // for netlink_request.h

 private:
  explicit Netlink(nl_sock* sock) : sock_(sock) {}
  Result<> neighbour(int type, int flags, const IpAddress& a, const std::string& link);
  nl_sock* sock_ = nullptr;
};

// Runs `fn` with the calling thread in `netns`; /proc/sys/net then shows that namespace. Always returns.
Result<> with_netns(const UniqueFd& netns, const std::function<Result<>()>& fn);

// Drops every frame that comes from the container on host device `link` and whose source is not allowed:
// clsact ingress with a generated BPF program, replaced atomically.
struct SourceFilter {
  std::vector<IpAddress> addresses;  // routed: only IPv4/IPv6 frames from these
  std::optional<MacAddress> mac;     // bridged with mac_filter: only this source MAC
};
Result<> set_source_filter(const std::string& link, const SourceFilter& filter);
Result<> set_source_filter(Netlink& host, const std::string& link, const SourceFilter& filter);

}  // namespace vz

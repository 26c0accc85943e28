// SPDX-License-Identifier: LGPL-2.1-or-later
// Addresses, routes and proxy neighbours.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <netlink/attr.h>
#include <netlink/msg.h>

#include "libvz/kernel/netlink.h"
#include "libvz/kernel/netlink_request.h"

namespace vz {

using netlink::accept_errno;
using netlink::link_index;
using netlink::link_info;
using netlink::Request;
using netlink::transact;

namespace {

std::uint8_t family_of(const IpAddress& a) { return a.v6 ? AF_INET6 : AF_INET; }
unsigned bits_of(const IpAddress& a) { return a.v6 ? 128 : 32; }

Request& put_address(Request& request, int type, const IpAddress& a) {
  return request.put(type, a.bytes, bits_of(a) / 8);
}

IpAddress address_from(const nlattr* attr, unsigned prefix) {
  IpAddress a;
  a.v6 = nla_len(attr) == 16;
  std::memcpy(a.bytes, nla_data(attr), std::min<std::size_t>(static_cast<std::size_t>(nla_len(attr)), 16));
  a.prefix = prefix;
  return a;
}

bool is_link_local(const IpAddress& a) {
  if (a.v6) return a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0x80;
  return a.bytes[0] == 169 && a.bytes[1] == 254;
}

bool is_loopback(const IpAddress& a) {
  if (!a.v6) return a.bytes[0] == 127;
  return a.bytes[15] == 1 && std::all_of(a.bytes, a.bytes + 15, [](std::uint8_t b) { return b == 0; });
}

bool subnet_contains(const IpAddress& subnet, const IpAddress& a) {
  if (subnet.v6 != a.v6) return false;
  unsigned whole = subnet.prefix / 8, rest = subnet.prefix % 8;
  if (std::memcmp(subnet.bytes, a.bytes, whole) != 0) return false;
  return rest == 0 || ((subnet.bytes[whole] ^ a.bytes[whole]) >> (8 - rest)) == 0;
}

Request address_request(int type, int flags, const IpAddress& a, int index) {
  ifaddrmsg header{};
  header.ifa_family = family_of(a);
  header.ifa_prefixlen = static_cast<std::uint8_t>(a.prefix);
  header.ifa_index = static_cast<unsigned>(index);
  header.ifa_scope = is_link_local(a) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  if (a.v6) header.ifa_flags = IFA_F_NODAD;
  Request request(type, flags, header);
  put_address(request, IFA_LOCAL, a);
  put_address(request, IFA_ADDRESS, a);
  return request;
}

struct FoundAddress {
  int index;
  IpAddress address;
};

// With NETLINK_GET_STRICT_CHK the kernel itself drops the addresses of other links than `index` (0: all links).
Result<std::vector<FoundAddress>> dump_addresses(nl_sock* sock, int index, std::uint8_t family) {
  ifaddrmsg header{};
  header.ifa_family = family;
  header.ifa_index = static_cast<unsigned>(index);
  std::vector<FoundAddress> found;
  VZ_TRY(transact(sock, Request(RTM_GETADDR, NLM_F_DUMP, header), "list addresses", [&](nlmsghdr* h) {
    auto* m = static_cast<ifaddrmsg*>(nlmsg_data(h));
    if (h->nlmsg_type != RTM_NEWADDR || (index && m->ifa_index != static_cast<unsigned>(index))) return;
    nlattr* own = nlmsg_find_attr(h, sizeof *m, IFA_LOCAL);
    if (!own) own = nlmsg_find_attr(h, sizeof *m, IFA_ADDRESS);
    if (own) found.push_back({static_cast<int>(m->ifa_index), address_from(own, m->ifa_prefixlen)});
  }));
  return found;
}

Request route_request(int type, int flags, bool v6, int index) {
  rtmsg header{};
  header.rtm_family = v6 ? AF_INET6 : AF_INET;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_scope = type == RTM_DELROUTE ? RT_SCOPE_NOWHERE : RT_SCOPE_LINK;
  header.rtm_type = RTN_UNICAST;
  Request request(type, flags, header);
  request.put(RTA_OIF, static_cast<std::uint32_t>(index));
  return request;
}

Request host_route_request(int type, int flags, const IpAddress& a, int index) {
  Request request = route_request(type, flags, a.v6, index);
  static_cast<rtmsg*>(nlmsg_data(nlmsg_hdr(request.get())))->rtm_dst_len = static_cast<std::uint8_t>(bits_of(a));
  put_address(request, RTA_DST, a);
  return request;
}

struct FoundRoute {
  unsigned type = RTN_UNSPEC, bits = 0;
  int index = 0;
  std::optional<IpAddress> source;
};

// The route to `a`: the table entry (RTM_F_FIB_MATCH) or the result of a look-up with its source address.
Result<std::optional<FoundRoute>> route_to(nl_sock* sock, const IpAddress& a, unsigned rtm_flags) {
  rtmsg header{};
  header.rtm_family = family_of(a);
  header.rtm_dst_len = static_cast<std::uint8_t>(bits_of(a));
  header.rtm_flags = rtm_flags;
  Request request(RTM_GETROUTE, 0, header);
  put_address(request, RTA_DST, a);
  FoundRoute found;
  auto result = transact(sock, request, "find the route to " + a.address(), [&](nlmsghdr* h) {
    auto* m = static_cast<rtmsg*>(nlmsg_data(h));
    found.type = m->rtm_type;
    found.bits = m->rtm_dst_len;
    if (nlattr* oif = nlmsg_find_attr(h, sizeof *m, RTA_OIF)) found.index = static_cast<int>(nla_get_u32(oif));
    if (nlattr* src = nlmsg_find_attr(h, sizeof *m, RTA_PREFSRC)) found.source = address_from(src, bits_of(a));
  });
  if (result) return found;
  switch (result.error().sys_errno()) {
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EACCES:        // prohibit route
    case EINVAL:        // blackhole route
    case EAFNOSUPPORT:  // no IPv6 here
    case EOPNOTSUPP:
      return std::nullopt;
    default:
      return fail(std::move(result.error()));
  }
}

}  // namespace

Result<> Netlink::add_address(const std::string& link, const IpAddress& a) {
  int index = VZ_TRY(link_index(sock_, link));
  auto result = transact(sock_, address_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, a, index),
                         "add address " + a.str() + " to " + link);
  if (!result && a.v6 && (result.error().sys_errno() == EOPNOTSUPP || result.error().sys_errno() == EACCES))
    return fail(
        std::move(result.error())
            .with_code(Code::unsupported)
            .with_hint("IPv6 is disabled: check net.ipv6.conf.default.disable_ipv6 and the kernel's ipv6.disable"));
  return accept_errno(std::move(result), EEXIST);
}

Result<> Netlink::del_address(const std::string& link, const IpAddress& a) {
  auto index = link_index(sock_, link);
  if (!index) return index.error().sys_errno() == ENODEV ? Result<>{} : Result<>(fail(std::move(index.error())));
  // The kernel matches address and prefix; the caller may know only the address.
  for (const FoundAddress& found : VZ_TRY(dump_addresses(sock_, *index, family_of(a)))) {
    if (!found.address.same_address(a)) continue;
    auto result = transact(sock_, address_request(RTM_DELADDR, 0, found.address, *index),
                           "delete address " + a.str() + " from " + link);
    VZ_TRY(accept_errno(std::move(result), EADDRNOTAVAIL));
  }
  return {};
}

Result<std::vector<IpAddress>> Netlink::addresses(const std::string& link) {
  int index = VZ_TRY(link_index(sock_, link));
  std::vector<IpAddress> list;
  for (const FoundAddress& found : VZ_TRY(dump_addresses(sock_, index, AF_UNSPEC))) list.push_back(found.address);
  return list;
}

Result<> Netlink::add_route(const IpAddress& dst, const std::string& link) {
  int index = VZ_TRY(link_index(sock_, link));
  auto result = transact(sock_, host_route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, dst, index),
                         "add a route to " + dst.address() + " by " + link);
  if (result || result.error().sys_errno() != EEXIST) return result;
  auto present = VZ_TRY(route_to(sock_, dst, RTM_F_FIB_MATCH));
  if (present && present->index == index) return {};
  return fail(Code::ip_in_use, "IP address " + dst.address() + " is already in use");
}

Result<> Netlink::del_route(const IpAddress& dst, const std::string& link) {
  auto index = link_index(sock_, link);
  if (!index) return index.error().sys_errno() == ENODEV ? Result<>{} : Result<>(fail(std::move(index.error())));
  auto result = transact(sock_, host_route_request(RTM_DELROUTE, 0, dst, *index),
                         "delete the route to " + dst.address() + " by " + link);
  return accept_errno(std::move(result), ESRCH);
}

Result<> Netlink::add_default_route(const std::string& link, bool v6) {
  int index = VZ_TRY(link_index(sock_, link));
  auto result = transact(sock_, route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, v6, index),
                         std::string("add the default IPv") + (v6 ? "6" : "4") + " route by " + link);
  return accept_errno(std::move(result), EEXIST);
}

Result<std::optional<std::string>> Netlink::who_has(const IpAddress& a) {
  auto route = VZ_TRY(route_to(sock_, a, RTM_F_FIB_MATCH));
  if (!route) return std::nullopt;
  bool own = route->type == RTN_LOCAL || route->type == RTN_BROADCAST || route->type == RTN_ANYCAST;
  if (!own && (route->bits != bits_of(a) || route->index == 0)) return std::nullopt;
  auto link = VZ_TRY(link_info(sock_, route->index));
  return link.name;
}

Result<std::optional<IpAddress>> Netlink::source_for(const IpAddress& dst) {
  auto route = VZ_TRY(route_to(sock_, dst, 0));
  // An IPv6 link-local source may be another device's: `dst` could not answer it.
  if (!route || !route->source || is_loopback(*route->source)) return std::nullopt;
  if (dst.v6 && is_link_local(*route->source)) return std::nullopt;
  return route->source;
}

Result<> Netlink::neighbour(int type, int flags, const IpAddress& a, const std::string& link) {
  ndmsg header{};
  header.ndm_family = family_of(a);
  header.ndm_ifindex = VZ_TRY(link_index(sock_, link));
  header.ndm_state = NUD_PERMANENT;
  header.ndm_flags = NTF_PROXY;
  Request request(type, flags, header);
  put_address(request, NDA_DST, a);
  return transact(sock_, request, "proxy neighbour " + a.address() + " on " + link);
}

Result<> Netlink::add_proxy_neighbour(const IpAddress& a, const std::string& link) {
  return neighbour(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, a, link);
}

Result<> Netlink::del_proxy_neighbour(const IpAddress& a, const std::string& link) {
  auto result = neighbour(RTM_DELNEIGH, 0, a, link);
  return accept_errno(accept_errno(std::move(result), ENOENT), ENODEV);
}

Result<std::vector<std::string>> Netlink::proxies_of(const IpAddress& a) {
  ndmsg header{};
  header.ndm_family = family_of(a);
  header.ndm_flags = NTF_PROXY;
  std::vector<int> indexes;
  VZ_TRY(transact(sock_, Request(RTM_GETNEIGH, NLM_F_DUMP, header), "list proxy neighbours", [&](nlmsghdr* h) {
    auto* m = static_cast<ndmsg*>(nlmsg_data(h));
    nlattr* dst = nlmsg_find_attr(h, sizeof *m, NDA_DST);
    if (h->nlmsg_type == RTM_NEWNEIGH && (m->ndm_flags & NTF_PROXY) && m->ndm_ifindex > 0 && dst &&
        address_from(dst, bits_of(a)).same_address(a))
      indexes.push_back(m->ndm_ifindex);
  }));
  std::vector<std::string> names;
  for (int index : indexes)
    if (auto link = link_info(sock_, index)) names.push_back(link->name);  // else it has just gone
  return names;
}

Result<std::vector<std::string>> Netlink::links_with_subnet(const IpAddress& a) {
  std::vector<int> indexes;
  for (const FoundAddress& found : VZ_TRY(dump_addresses(sock_, 0, family_of(a)))) {
    bool seen = std::find(indexes.begin(), indexes.end(), found.index) != indexes.end();
    if (!seen && found.address.prefix < bits_of(a) && subnet_contains(found.address, a)) indexes.push_back(found.index);
  }
  std::vector<std::string> names;
  for (int index : indexes) {
    auto link = link_info(sock_, index);
    if (!link) continue;  // it has just gone
    constexpr unsigned kWanted = IFF_UP | IFF_BROADCAST;
    if ((link->flags & (kWanted | IFF_NOARP | IFF_LOOPBACK)) == kWanted) names.push_back(link->name);
  }
  return names;
}

}  // namespace vz

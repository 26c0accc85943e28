// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/netlink_state.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <set>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <netlink/attr.h>
#include <netlink/msg.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/netlink.h"
#include "libvz/kernel/netlink_dump.h"
#include "libvz/kernel/netlink_request.h"

namespace vz {

using netlink::accept_errno;
using netlink::Request;

namespace {

using OnMessage = std::function<void(const nlmsghdr&)>;

template <class Header>
Result<> dump(const UniqueFd& socket, int get, int answer, const Header& request, const OnMessage& on_message) {
  return netlink_dump(socket, get, request, [&](const nlmsghdr& h) {
    if (h.nlmsg_type == answer && h.nlmsg_len >= NLMSG_LENGTH(sizeof(Header))) on_message(h);
  });
}

template <class Header>
const Header& header_of(const nlmsghdr& h) {
  return *static_cast<const Header*>(NLMSG_DATA(&h));
}

template <class Header>
nlattr* attribute(const nlmsghdr& h, int type) {
  return nlmsg_find_attr(const_cast<nlmsghdr*>(&h), sizeof(Header), type);
}

std::uint32_t number(const nlattr* attr) { return attr && nla_len(attr) >= 4 ? nla_get_u32(attr) : 0; }

std::string payload(const nlmsghdr& h) {
  return {static_cast<const char*>(NLMSG_DATA(&h)), h.nlmsg_len - NLMSG_HDRLEN};
}

// ---- Reading

Result<std::vector<NetDevice>> read_devices(const UniqueFd& socket) {
  std::vector<NetDevice> out;
  ifinfomsg request{};
  VZ_TRY(dump(socket, RTM_GETLINK, RTM_NEWLINK, request, [&](const nlmsghdr& h) {
    const auto& link = header_of<ifinfomsg>(h);
    const nlattr* name = attribute<ifinfomsg>(h, IFLA_IFNAME);
    if (!name || nla_len(name) <= 0) return;
    std::string text(static_cast<const char*>(nla_data(name)), static_cast<std::size_t>(nla_len(name)));
    out.push_back({text.c_str(), link.ifi_index, link.ifi_flags, number(attribute<ifinfomsg>(h, IFLA_MTU))});
  }));
  return out;
}

Result<std::vector<std::string>> read_addresses(const UniqueFd& socket) {
  std::vector<std::string> out;
  ifaddrmsg request{};
  VZ_TRY(dump(socket, RTM_GETADDR, RTM_NEWADDR, request, [&](const nlmsghdr& h) { out.push_back(payload(h)); }));
  // The kernel tells the last one of IPv6 first, and takes the first it finds as a source.
  auto ip6 = std::stable_partition(out.begin(), out.end(), [](const auto& a) { return a[0] != AF_INET6; });
  std::reverse(ip6, out.end());
  return out;
}

// The kernel makes these by itself, with the addresses.
bool is_kernels_own(const rtmsg& route, std::uint32_t table) {
  return (route.rtm_flags & RTM_F_CLONED) != 0 || (route.rtm_protocol == RTPROT_KERNEL && table == RT_TABLE_LOCAL);
}

// The attributes of a route that means the same in another namespace with the same devices.
bool is_plain_route(const nlmsghdr& h) {
  static constexpr int kPlain[] = {RTA_DST,     RTA_SRC,       RTA_OIF,     RTA_GATEWAY,      RTA_PRIORITY,
                                   RTA_PREFSRC, RTA_METRICS,   RTA_TABLE,   RTA_PREF,         RTA_FLOW,
                                   RTA_IIF,     RTA_CACHEINFO, RTA_EXPIRES, RTA_TTL_PROPAGATE};
  int left = static_cast<int>(h.nlmsg_len - NLMSG_LENGTH(sizeof(rtmsg)));
  for (auto* attr = nlmsg_attrdata(&h, sizeof(rtmsg)); nla_ok(attr, left); attr = nla_next(attr, &left))
    if (std::find(std::begin(kPlain), std::end(kPlain), nla_type(attr)) == std::end(kPlain)) return false;
  return true;
}

Result<std::vector<std::string>> read_routes(const UniqueFd& socket, unsigned char family, bool* plain) {
  std::vector<std::string> out;
  rtmsg request{};
  request.rtm_family = family;
  auto done = dump(socket, RTM_GETROUTE, RTM_NEWROUTE, request, [&](const nlmsghdr& h) {
    const auto& route = header_of<rtmsg>(h);
    if (route.rtm_family != family) return;
    const nlattr* table = attribute<rtmsg>(h, RTA_TABLE);
    if (is_kernels_own(route, table ? number(table) : route.rtm_table)) return;
    *plain = *plain && is_plain_route(h);
    out.push_back(payload(h));
  });
  if (!done && done.error().code() != Code::unsupported) return fail(std::move(done).error());
  return out;
}

// Those that every namespace has: by their table, all without a condition.
bool is_default_rule(const nlmsghdr& h) {
  const auto& rule = header_of<fib_rule_hdr>(h);
  if (rule.dst_len || rule.src_len || rule.tos || rule.action != FR_ACT_TO_TBL || rule.flags) return false;
  static constexpr int kConditions[] = {FRA_IIFNAME,     FRA_OIFNAME,     FRA_FWMARK,    FRA_FWMASK,
                                        FRA_TUN_ID,      FRA_L3MDEV,      FRA_UID_RANGE, FRA_IP_PROTO,
                                        FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_GOTO,      FRA_SUPPRESS_IFGROUP};
  for (int condition : kConditions)
    if (attribute<fib_rule_hdr>(h, condition)) return false;
  const std::uint32_t table = number(attribute<fib_rule_hdr>(h, FRA_TABLE));
  const std::uint32_t priority = number(attribute<fib_rule_hdr>(h, FRA_PRIORITY));
  return (priority == 0 && table == RT_TABLE_LOCAL) || (priority == 0x7FFE && table == RT_TABLE_MAIN) ||
         (priority == 0x7FFF && table == RT_TABLE_DEFAULT);
}

Result<bool> has_default_rules(const UniqueFd& socket, unsigned char family, unsigned expected) {
  unsigned count = 0;
  bool good = true;
  fib_rule_hdr request{};
  request.family = family;
  auto done = dump(socket, RTM_GETRULE, RTM_NEWRULE, request, [&](const nlmsghdr& h) {
    if (header_of<fib_rule_hdr>(h).family != family) return;
    ++count;
    good = good && is_default_rule(h);
  });
  if (!done && done.error().code() == Code::unsupported) return true;  // a kernel without them
  VZ_TRY(std::move(done));
  return good && (count == expected || count == 0);
}

// ---- Settings

// Through a procfs instance of its own: see write_net_sysctls_apart().
Result<UniqueFd> open_settings() {
  UniqueFd proc = new_mount("proc", {}, 0).value_or(UniqueFd{});
  if (!proc) proc = VZ_TRY(open_file("/proc", O_PATH | O_DIRECTORY));
  return open_at(proc.get(), "sys/net", O_PATH | O_DIRECTORY);
}

// These change others when they are written, or are limited by them.
int rank(const std::string& name) {
  if (name == "forwarding" || name == "ip_forward") return 0;
  return name == "disable_ipv6" ? 1 : 2;
}

// `ping_group_range` and MPTCP are set by whoever makes the network, in the ids of the place.
bool is_carried(const std::string& name) { return name != "ping_group_range" && name != "ip_forward"; }

Result<> read_settings_in(int net, const std::string& dir, NetState& out) {
  auto opened = open_at(net, dir, O_RDONLY | O_DIRECTORY);
  if (!opened) return {};  // a kernel without IPv6
  auto names = VZ_TRY(list_dir_at(net, dir));
  std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return rank(a) < rank(b); });
  for (const auto& name : names) {
    struct stat st;
    if (!is_carried(name) || ::fstatat(opened->get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(st.st_mode) || (st.st_mode & S_IWUSR) == 0) continue;
    // "stable_secret" cannot be read while it is not set, others never.
    auto text = read_file_at(opened->get(), name, 4096);
    if (text) out.sysctls.emplace_back(dir + "/" + name, std::string(trim(*text)));
  }
  return {};
}

Result<> read_settings(NetState& out) {
  UniqueFd net = VZ_TRY(open_settings());
  for (const char* dir : {"core", "unix", "ipv4", "ipv6"}) VZ_TRY(read_settings_in(net.get(), dir, out));
  for (const std::string family : {"ipv4/conf/", "ipv6/conf/"}) {
    for (const char* all : {"all", "default"}) VZ_TRY(read_settings_in(net.get(), family + all, out));
    for (const auto& device : out.devices) VZ_TRY(read_settings_in(net.get(), family + device.name, out));
  }
  return {};
}

// Only what is not so already: most of it never is changed.
Result<std::vector<std::string>> write_settings(const NetState& state) {
  UniqueFd net = VZ_TRY(open_settings());
  std::vector<std::string> lost;
  for (const auto& [name, value] : state.sysctls) {
    auto now = read_file_at(net.get(), name, 4096);
    if (now && trim(*now) == value) continue;
    auto written = write_kernel_file_at(net.get(), name, value);
    if (!written) lost.push_back("net/" + name + "=" + value + ": " + written.error().message());
  }
  return lost;
}

// ---- Writing

Result<> set_device(nl_sock* socket, const NetDevice& device) {
  constexpr unsigned kSettable = IFF_UP | IFF_NOARP | IFF_ALLMULTI | IFF_PROMISC | IFF_DYNAMIC | IFF_MULTICAST;
  ifinfomsg header{};
  header.ifi_index = device.index;
  header.ifi_flags = device.flags & kSettable;
  header.ifi_change = kSettable;
  Request request(RTM_NEWLINK, 0, header);
  request.put(IFLA_MTU, std::uint32_t{device.mtu});
  return netlink::transact(socket, request, "network device " + device.name);
}

Result<> send_message(nl_sock* socket, int type, int flags, const std::string& message, std::size_t header_size,
                      const char* what) {
  if (message.size() < header_size) return fail(Code::bad_value, std::string(what) + ": the message is too short");
  return netlink::transact(socket, Request(type, flags, message), what);
}

// No duplicate address detection: nobody else has them, and until it has ended programs cannot bind to the address. On
// devices without ARP there is none anyway.
std::string without_detection(std::string message, const NetState& state) {
  if (message.size() < sizeof(ifaddrmsg)) return message;
  ifaddrmsg header;
  std::memcpy(&header, message.data(), sizeof header);
  const bool detects = std::any_of(state.devices.begin(), state.devices.end(), [&](const NetDevice& d) {
    return d.index == static_cast<int>(header.ifa_index) && (d.flags & (IFF_NOARP | IFF_LOOPBACK)) == 0;
  });
  if (header.ifa_family != AF_INET6 || !detects) return message;
  header.ifa_flags |= IFA_F_NODAD;
  std::memcpy(message.data(), &header, sizeof header);
  // The flags are there again, with more room.
  int left = static_cast<int>(message.size() - NLMSG_ALIGN(sizeof header));
  auto* first = reinterpret_cast<nlattr*>(message.data() + NLMSG_ALIGN(sizeof header));
  if (auto* flags = nla_find(first, left, IFA_FLAGS); flags && nla_len(flags) >= 4) {
    const std::uint32_t value = nla_get_u32(flags) | IFA_F_NODAD;
    std::memcpy(nla_data(flags), &value, sizeof value);
  }
  return message;
}

// What the kernel told of the route's state is not the caller's to say.
std::string without_state(std::string message) {
  if (message.size() < sizeof(rtmsg)) return message;
  rtmsg header;
  std::memcpy(&header, message.data(), sizeof header);
  header.rtm_flags &= RTNH_F_ONLINK;
  std::memcpy(message.data(), &header, sizeof header);
  return message;
}

// A gateway has to be reachable when its route is made: some of them need others. Each turn makes at least one.
Result<> add_routes(nl_sock* socket, std::vector<std::string> routes) {
  Result<> last;
  for (std::size_t before = routes.size() + 1; !routes.empty() && routes.size() < before;) {
    before = routes.size();
    std::vector<std::string> left;
    for (auto& route : routes) {
      auto added = accept_errno(send_message(socket, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, without_state(route),
                                             sizeof(rtmsg), "route of a network namespace"),
                                EEXIST);
      if (added) continue;
      last = std::move(added);
      left.push_back(std::move(route));
    }
    routes = std::move(left);
  }
  return routes.empty() ? Result<>() : last;
}

}  // namespace

Result<std::optional<NetState>> read_net_state(const std::vector<std::string>& devices, std::string* why) {
  UniqueFd socket = VZ_TRY(open_netlink(NETLINK_ROUTE));
  auto beyond = [&](const std::string& what) {
    *why = what;
    return std::optional<NetState>();
  };
  NetState out;
  out.devices = VZ_TRY(read_devices(socket));
  for (const auto& device : out.devices)
    if (device.name != "lo" && std::find(devices.begin(), devices.end(), device.name) == devices.end())
      return beyond("network device " + device.name);
  if (out.devices.size() != devices.size() + 1) return beyond("a device is missing");
  if (!VZ_TRY(has_default_rules(socket, AF_INET, 3)) || !VZ_TRY(has_default_rules(socket, AF_INET6, 2)))
    return beyond("rules of routing");
  out.addresses = VZ_TRY(read_addresses(socket));
  bool plain = true;
  for (unsigned char family : {AF_INET, AF_INET6}) {
    auto routes = VZ_TRY(read_routes(socket, family, &plain));
    out.routes.insert(out.routes.end(), routes.begin(), routes.end());
  }
  if (!plain) return beyond("routes of an unusual kind");
  VZ_TRY(read_settings(out));
  return std::optional(std::move(out));
}

Result<std::vector<std::string>> write_net_state(const NetState& state) {
  Netlink netlink = VZ_TRY(Netlink::open_here());
  // Before the devices are up: some decide what happens then.
  auto lost = VZ_TRY(write_settings(state));
  for (const auto& device : state.devices) VZ_TRY(set_device(netlink.socket(), device));
  // Some are there as soon as the device is up.
  for (const auto& address : state.addresses)
    VZ_TRY(accept_errno(
        send_message(netlink.socket(), RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, without_detection(address, state),
                     sizeof(ifaddrmsg), "address of a network namespace"),
        EEXIST));
  VZ_TRY(add_routes(netlink.socket(), state.routes));
  return lost;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/packet_rules.h"

#include <cstring>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/netlink_dump.h"

namespace vz {

namespace {

constexpr int kGetInfo = 64;  // IPT_SO_GET_INFO, and the same number for IPv6

// ipt_getinfo and ip6t_getinfo, whose headers do not go together with C++.
struct TableInfo {
  char name[32];
  unsigned valid_hooks;
  unsigned hook_entry[NF_INET_NUMHOOKS], underflow[NF_INET_NUMHOOKS];
  unsigned num_entries, size;
};

std::uint64_t table_entries(const UniqueFd& socket, int level, const std::string& names_file) {
  auto names = read_file(names_file);
  if (!names || !socket) return 0;
  std::uint64_t sum = 0;
  for (const auto& name : split_blank(*names)) {
    TableInfo info{};
    if (name.size() >= sizeof info.name) continue;
    std::memcpy(info.name, name.data(), name.size());
    socklen_t size = sizeof info;
    if (::getsockopt(socket.get(), level, kGetInfo, &info, &size) == 0) sum += info.num_entries;
  }
  return sum;
}

// How many objects of a kind nftables has: NFT_MSG_GETRULE and what it answers with.
Result<std::uint64_t> count_nftables(const UniqueFd& socket, int get, int answer) {
  std::uint64_t count = 0;
  nfgenmsg request{};
  request.nfgen_family = NFPROTO_UNSPEC;
  auto done = netlink_dump(socket, NFNL_SUBSYS_NFTABLES << 8 | get, request, [&](const nlmsghdr& message) {
    if (message.nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | answer)) ++count;
  });
  if (!done && done.error().code() != Code::unsupported) return fail(std::move(done).error());
  return count;
}

}  // namespace

bool has_packet_filter(PacketFilter kind) {
  const char* module = kind == PacketFilter::nftables ? "/sys/module/nf_tables" : "/sys/module/x_tables";
  return exists(module) || !exists("/proc/modules");
}

Result<PacketRuleSockets> open_packet_rule_sockets() {
  PacketRuleSockets out;
  // To ask would load the module.
  if (has_packet_filter(PacketFilter::nftables)) out.nftables = VZ_TRY(open_netlink(NETLINK_NETFILTER));
  out.v4 = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  out.v6 = UniqueFd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return out;
}

Result<std::uint64_t> count_packet_rules(const PacketRuleSockets& sockets, pid_t pid) {
  const std::string net = "/proc/" + std::to_string(pid) + "/net/";
  std::uint64_t count =
      sockets.nftables ? VZ_TRY(count_nftables(sockets.nftables, NFT_MSG_GETRULE, NFT_MSG_NEWRULE)) : 0;
  return count + table_entries(sockets.v4, SOL_IP, net + "ip_tables_names") +
         table_entries(sockets.v6, SOL_IPV6, net + "ip6_tables_names");
}

Result<bool> has_packet_tables() {
  for (const char* names : {"ip_tables_names", "ip6_tables_names", "arp_tables_names"})
    if (auto text = read_file(std::string("/proc/thread-self/net/") + names); text && !trim(*text).empty()) return true;
  if (!has_packet_filter(PacketFilter::nftables)) return false;
  UniqueFd socket = VZ_TRY(open_netlink(NETLINK_NETFILTER));
  return VZ_TRY(count_nftables(socket, NFT_MSG_GETTABLE, NFT_MSG_NEWTABLE)) != 0;
}

}  // namespace vz

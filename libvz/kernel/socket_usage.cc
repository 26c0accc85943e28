// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/socket_usage.h"

#include <cstring>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/netlink_dump.h"

namespace vz {

namespace {

static_assert(kSocketDiagnosis == NETLINK_SOCK_DIAG);

// "TCP: inuse 5 orphan 0 …": the number behind `word` in the line of `name`; 0 when there is none.
std::uint64_t number_of(const std::string& text, std::string_view name, std::string_view word) {
  for (const auto& line : split(text, '\n')) {
    if (!line.starts_with(name)) continue;
    auto words = split_blank(line);
    for (std::size_t i = 1; i + 1 < words.size(); ++i)
      if (words[i] == word) return parse_u64(words[i + 1]).value_or(0);
  }
  return 0;
}

struct MemInfo {
  std::uint64_t receive = 0, send = 0, queued = 0;
};

// The attribute with the kernel's struct of 32-bit numbers, SK_MEMINFO_….
std::optional<MemInfo> meminfo_of(const nlmsghdr& message, std::size_t fixed, int attribute) {
  if (message.nlmsg_len < NLMSG_LENGTH(fixed)) return std::nullopt;
  auto left = static_cast<int>(message.nlmsg_len - NLMSG_LENGTH(fixed));
  const auto* start = reinterpret_cast<const char*>(&message) + NLMSG_SPACE(fixed);
  for (const auto* a = reinterpret_cast<const rtattr*>(start); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type != attribute) continue;
    __u32 v[SK_MEMINFO_VARS] = {};
    std::memcpy(v, RTA_DATA(a), std::min<std::size_t>(RTA_PAYLOAD(a), sizeof v));
    return MemInfo{std::uint64_t{v[SK_MEMINFO_RMEM_ALLOC]} + v[SK_MEMINFO_BACKLOG], v[SK_MEMINFO_WMEM_ALLOC],
                   v[SK_MEMINFO_WMEM_QUEUED]};
  }
  return std::nullopt;
}

// What a kernel lacks is not there to hold memory.
Result<> dump(const UniqueFd& diag, const auto& request, const std::function<void(const nlmsghdr&)>& on_message) {
  auto done = netlink_dump(diag, SOCK_DIAG_BY_FAMILY, request, on_message);
  if (!done && done.error().code() != Code::unsupported) return done;
  return {};
}

Result<> add_inet(const UniqueFd& diag, int protocol, SocketMemory& sum) {
  for (int family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 request{};
    request.sdiag_family = static_cast<__u8>(family);
    request.sdiag_protocol = static_cast<__u8>(protocol);
    request.idiag_states = ~0u;
    request.idiag_ext = 1u << (INET_DIAG_SKMEMINFO - 1);
    VZ_TRY(dump(diag, request, [&](const nlmsghdr& message) {
      auto m = meminfo_of(message, sizeof(inet_diag_msg), INET_DIAG_SKMEMINFO);
      if (!m) return;
      const bool tcp = protocol == IPPROTO_TCP;
      (tcp ? sum.tcp_send : sum.other_send) += tcp ? m->queued : m->send;
      (tcp ? sum.tcp_receive : sum.other_receive) += m->receive;
    }));
  }
  return {};
}

// Our own socket is in the list, with the list itself waiting to be read.
bool is_ours(const nlmsghdr& message, int attribute, std::uint32_t port) {
  if (attribute != NETLINK_DIAG_MEMINFO || message.nlmsg_len < NLMSG_LENGTH(sizeof(netlink_diag_msg))) return false;
  netlink_diag_msg head;
  std::memcpy(&head, reinterpret_cast<const char*>(&message) + NLMSG_HDRLEN, sizeof head);
  return head.ndiag_family == AF_NETLINK && head.ndiag_protocol == NETLINK_SOCK_DIAG && head.ndiag_portid == port;
}

std::uint32_t port_of(const UniqueFd& diag) {
  sockaddr_nl name{};
  socklen_t size = sizeof name;
  return ::getsockname(diag.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0 ? name.nl_pid : 0;
}

Result<> add_other(const UniqueFd& diag, const auto& request, std::size_t fixed, int attribute, SocketMemory& sum) {
  const auto port = port_of(diag);
  return dump(diag, request, [&](const nlmsghdr& message) {
    auto m = meminfo_of(message, fixed, attribute);
    if (!m || is_ours(message, attribute, port)) return;
    sum.other_send += m->send;
    sum.other_receive += m->receive;
  });
}

}  // namespace

Result<SocketCounts> count_sockets(pid_t pid) {
  const std::string net = "/proc/" + std::to_string(pid) + "/net/";
  std::string text = VZ_TRY(read_file(net + "sockstat"));
  SocketCounts out;
  out.tcp = number_of(text, "TCP:", "inuse");
  if (auto v6 = read_file(net + "sockstat6")) out.tcp += number_of(*v6, "TCP6:", "inuse");
  auto all = number_of(text, "sockets:", "used");
  out.other = all > out.tcp ? all - out.tcp : 0;
  return out;
}

Result<SocketMemory> sum_socket_memory(const UniqueFd& diag) {
  SocketMemory sum;
  for (int protocol : {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_RAW}) VZ_TRY(add_inet(diag, protocol, sum));
  unix_diag_req local{};
  local.sdiag_family = AF_UNIX;
  local.udiag_states = ~0u;
  local.udiag_show = UDIAG_SHOW_MEMINFO;
  VZ_TRY(add_other(diag, local, sizeof(unix_diag_msg), UNIX_DIAG_MEMINFO, sum));
  netlink_diag_req netlink{};
  netlink.sdiag_family = AF_NETLINK;
  netlink.sdiag_protocol = NDIAG_PROTO_ALL;
  netlink.ndiag_show = NDIAG_SHOW_MEMINFO;
  VZ_TRY(add_other(diag, netlink, sizeof(netlink_diag_msg), NETLINK_DIAG_MEMINFO, sum));
  packet_diag_req packet{};
  packet.sdiag_family = AF_PACKET;
  packet.pdiag_show = PACKET_SHOW_MEMINFO;
  VZ_TRY(add_other(diag, packet, sizeof(packet_diag_msg), PACKET_DIAG_MEMINFO, sum));
  return sum;
}

}  // namespace vz

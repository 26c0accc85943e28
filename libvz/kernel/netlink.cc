// SPDX-License-Identifier: LGPL-2.1-or-later
// The socket and the links. Addresses, routes and neighbours are in netlink_route.cc.
//
// Every request asks for exactly one object: a host has thousands of links and routes, so nothing here reads
// whole tables into a cache.
#include "libvz/kernel/netlink.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>

#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <netlink/attr.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/netlink_request.h"

namespace vz {
namespace netlink {
namespace {

struct Verdict {
  const OnAnswer* on_answer = nullptr;
  int err = 0;          // positive errno of the kernel
  std::string message;  // its extended acknowledgement
  bool ended = false;
};

int on_valid(nl_msg* msg, void* arg) {
  auto* verdict = static_cast<Verdict*>(arg);
  if (*verdict->on_answer) (*verdict->on_answer)(nlmsg_hdr(msg));
  return NL_OK;
}

// The text that the kernel puts behind its nlmsgerr (netlink(7), NETLINK_EXT_ACK).
std::string ext_ack_text(const nlmsgerr* e) {
  const auto* header = reinterpret_cast<const nlmsghdr*>(reinterpret_cast<const char*>(e) - NLMSG_HDRLEN);
  if (!(header->nlmsg_flags & NLM_F_ACK_TLVS)) return {};
  std::size_t skip = sizeof(nlmsgerr);
  if (!(header->nlmsg_flags & NLM_F_CAPPED)) skip += e->msg.nlmsg_len - sizeof(nlmsghdr);
  skip = NLMSG_ALIGN(skip);
  if (NLMSG_HDRLEN + skip >= header->nlmsg_len) return {};
  auto* first = reinterpret_cast<nlattr*>(const_cast<char*>(reinterpret_cast<const char*>(e)) + skip);
  const nlattr* text = nla_find(first, static_cast<int>(header->nlmsg_len - NLMSG_HDRLEN - skip), NLMSGERR_ATTR_MSG);
  if (!text) return {};
  const char* data = static_cast<const char*>(nla_data(text));
  return std::string(data, ::strnlen(data, static_cast<std::size_t>(nla_len(text))));
}

int on_error(sockaddr_nl*, nlmsgerr* e, void* arg) {
  auto* verdict = static_cast<Verdict*>(arg);
  verdict->err = -e->error;
  verdict->message = ext_ack_text(e);
  verdict->ended = true;
  return NL_STOP;
}

int on_end(nl_msg*, void* arg) {
  static_cast<Verdict*>(arg)->ended = true;
  return NL_STOP;
}

struct CallbackFree {
  void operator()(nl_cb* cb) const { nl_cb_put(cb); }
};

}  // namespace

Result<> transact(nl_sock* sock, const Request& request, std::string_view what, const OnAnswer& on_answer) {
  std::unique_ptr<nl_cb, CallbackFree> cb(nl_cb_alloc(NL_CB_DEFAULT));
  if (!cb || !request.get()) return fail(Error::from_errno(ENOMEM, what));
  Verdict verdict;
  verdict.on_answer = &on_answer;
  nl_cb_set(cb.get(), NL_CB_VALID, NL_CB_CUSTOM, on_valid, &verdict);
  nl_cb_set(cb.get(), NL_CB_ACK, NL_CB_CUSTOM, on_end, &verdict);
  nl_cb_set(cb.get(), NL_CB_FINISH, NL_CB_CUSTOM, on_end, &verdict);
  nl_cb_err(cb.get(), NL_CB_CUSTOM, on_error, &verdict);
  nlmsghdr* header = nlmsg_hdr(request.get());
  if ((header->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) header->nlmsg_flags |= NLM_F_ACK;
  int rc = nl_send_auto(sock, request.get());
  // A get answers with data and then with an acknowledgement, a dump with several datagrams: read until the end.
  while (rc >= 0 && !verdict.ended) rc = nl_recvmsgs(sock, cb.get());
  if (verdict.err) {
    std::string text(what);
    if (!verdict.message.empty()) text += ": " + verdict.message;
    return fail(Error::from_errno(verdict.err, text));
  }
  if (rc < 0) return fail(Code::system, std::string(what) + ": netlink: " + nl_geterror(rc));
  return {};
}

Result<int> link_index(nl_sock* sock, const std::string& name) {
  ifinfomsg header{};
  Request request(RTM_GETLINK, 0, header);
  request.put(IFLA_EXT_MASK, std::uint32_t{RTEXT_FILTER_SKIP_STATS}).put(IFLA_IFNAME, name);
  int index = 0;
  auto result = transact(sock, request, "network device " + name,
                         [&](nlmsghdr* h) { index = static_cast<ifinfomsg*>(nlmsg_data(h))->ifi_index; });
  if (!result) return fail(std::move(result.error()).with_code(Code::netdev));
  return index;
}

Result<LinkInfo> link_info(nl_sock* sock, int index) {
  ifinfomsg header{};
  header.ifi_index = index;
  Request request(RTM_GETLINK, 0, header);
  request.put(IFLA_EXT_MASK, std::uint32_t{RTEXT_FILTER_SKIP_STATS});
  LinkInfo info;
  VZ_TRY(transact(sock, request, "network device with index " + std::to_string(index), [&](nlmsghdr* h) {
    info.flags = static_cast<ifinfomsg*>(nlmsg_data(h))->ifi_flags;
    if (nlattr* name = nlmsg_find_attr(h, sizeof(ifinfomsg), IFLA_IFNAME)) info.name = nla_get_string(name);
  }));
  return info;
}

}  // namespace netlink

using netlink::accept_errno;
using netlink::link_index;
using netlink::Request;
using netlink::transact;

namespace {

Result<> join_netns(int fd) {
  if (::setns(fd, CLONE_NEWNET) < 0) return fail_errno("enter a network namespace");
  return {};
}

}  // namespace

Result<> with_netns(const UniqueFd& netns, const std::function<Result<>()>& fn) {
  UniqueFd home = VZ_TRY(open_file("/proc/thread-self/ns/net", O_RDONLY));
  VZ_TRY(join_netns(netns.get()));
  Result<> result = fn();
  // Going home needs only the CAP_SYS_ADMIN that entering needed; if it fails, nothing that follows may go on.
  VZ_TRY_CTX(join_netns(home.get()), "return to the own network namespace");
  return result;
}

Result<Netlink> Netlink::open_here() {
  nl_sock* sock = nl_socket_alloc();
  if (!sock) return fail(Error::from_errno(ENOMEM, "open a route netlink socket"));
  Netlink netlink(sock);
  // libnl opens with SOCK_CLOEXEC.
  if (int rc = nl_connect(sock, NETLINK_ROUTE); rc < 0)
    return fail(Code::system, std::string("open a route netlink socket: ") + nl_geterror(rc));
  // One read per answer instead of a peek and a read. No answer to our requests comes near this size, and the kernel
  // cuts dumps to fit.
  nl_socket_disable_msg_peek(sock);
  if (int rc = nl_socket_set_msg_buf_size(sock, 32768); rc < 0)
    return fail(Code::system, std::string("open a route netlink socket: ") + nl_geterror(rc));
  int on = 1;
  (void)::setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  (void)::setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  return netlink;
}

Result<Netlink> Netlink::open_in(const UniqueFd& netns) {
  std::optional<Netlink> opened;
  VZ_TRY(with_netns(netns, [&]() -> Result<> {
    opened = VZ_TRY(open_here());
    return {};
  }));
  return std::move(*opened);
}

Netlink::Netlink(Netlink&& other) noexcept : sock_(std::exchange(other.sock_, nullptr)) {}

Netlink& Netlink::operator=(Netlink&& other) noexcept {
  if (this != &other) std::swap(sock_, other.sock_);
  return *this;
}

Netlink::~Netlink() {
  if (sock_) nl_socket_free(sock_);
}

Result<> Netlink::add_veth(const std::string& name, const std::string& peer, const UniqueFd& peer_ns,
                           const std::optional<MacAddress>& mac, const std::optional<MacAddress>& peer_mac,
                           int peer_index) {
  ifinfomsg header{}, peer_header{};
  peer_header.ifi_index = peer_index;
  Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, header);
  request.put(IFLA_IFNAME, name);
  if (mac) request.put(IFLA_ADDRESS, mac->bytes, sizeof mac->bytes);
  request.nest(IFLA_LINKINFO, [&](Request& info) {
    info.put(IFLA_INFO_KIND, std::string("veth"));
    info.nest(IFLA_INFO_DATA, [&](Request& data) {
      data.nest(VETH_INFO_PEER, [&](Request& end) {
        end.append(&peer_header, sizeof peer_header);
        end.put(IFLA_IFNAME, peer);
        if (peer_mac) end.put(IFLA_ADDRESS, peer_mac->bytes, sizeof peer_mac->bytes);
        end.put(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_ns.get()));
      });
    });
  });
  return transact(sock_, request, "create the veth pair " + name + ", " + peer);
}

Result<> Netlink::del_link(const std::string& name) {
  ifinfomsg header{};
  Request request(RTM_DELLINK, 0, header);
  request.put(IFLA_IFNAME, name);
  return accept_errno(transact(sock_, request, "delete network device " + name), ENODEV);
}

bool Netlink::link_exists(const std::string& name) { return link_index(sock_, name).has_value(); }

bool Netlink::is_veth(const std::string& name) {
  ifinfomsg header{};
  Request request(RTM_GETLINK, 0, header);
  request.put(IFLA_EXT_MASK, std::uint32_t{RTEXT_FILTER_SKIP_STATS}).put(IFLA_IFNAME, name);
  bool is_veth = false;
  auto got = transact(sock_, request, "network device " + name, [&](nlmsghdr* h) {
    nlattr* info = nlmsg_find_attr(h, sizeof(ifinfomsg), IFLA_LINKINFO);
    nlattr* kind = info ? nla_find(static_cast<nlattr*>(nla_data(info)), nla_len(info), IFLA_INFO_KIND) : nullptr;
    is_veth = kind && std::strcmp(nla_get_string(kind), "veth") == 0;
  });
  return got && is_veth;
}

Result<> Netlink::set_up(const std::string& name, bool noarp) {
  ifinfomsg header{};
  header.ifi_flags = IFF_UP | (noarp ? IFF_NOARP : 0);
  header.ifi_change = header.ifi_flags;
  Request request(RTM_NEWLINK, 0, header);
  request.put(IFLA_IFNAME, name);
  return transact(sock_, request, "set network device " + name + " up");
}

// By netlink and not by /proc/sys: one request instead of a path look-up per setting (see write_net_sysctls_apart).
Result<> Netlink::set_routed(const std::string& name, bool forward_ip4) {
  auto ask = [&](bool with_ip6) {
    ifinfomsg header{};
    Request request(RTM_NEWLINK, 0, header);
    request.put(IFLA_IFNAME, name).nest(IFLA_AF_SPEC, [&](Request& families) {
      families.nest(AF_INET, [&](Request& ip4) {
        ip4.nest(IFLA_INET_CONF, [&](Request& conf) {
          conf.put(IPV4_DEVCONF_FORWARDING, std::uint32_t{forward_ip4});
          conf.put(IPV4_DEVCONF_ACCEPT_REDIRECTS, std::uint32_t{0});
        });
      });
      if (!with_ip6) return;
      families.nest(AF_INET6, [&](Request& ip6) {
        std::uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
        ip6.put(IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof mode);
      });
    });
    return transact(sock_, request, "configure network device " + name);
  };
  auto result = ask(true);
  if (!result && result.error().sys_errno() == EAFNOSUPPORT) return ask(false);  // a kernel without IPv6
  return result;
}

Result<> Netlink::set_master(const std::string& name, const std::string& bridge) {
  int master = VZ_TRY(link_index(sock_, bridge));
  ifinfomsg header{};
  Request request(RTM_NEWLINK, 0, header);
  request.put(IFLA_IFNAME, name).put(IFLA_MASTER, static_cast<std::uint32_t>(master));
  return transact(sock_, request, "put network device " + name + " into bridge " + bridge);
}

Result<> Netlink::set_ingress_program(const std::string& link, int program, const std::string& label) {
  const Error unsupported = Error(Code::unsupported, "this kernel cannot filter on " + link)
                                .with_hint("it needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF");
  tcmsg header{};
  header.tcm_ifindex = VZ_TRY(link_index(sock_, link));
  header.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  header.tcm_parent = TC_H_CLSACT;
  Request qdisc(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, header);
  qdisc.put(TCA_KIND, std::string("clsact"));
  auto made = accept_errno(transact(sock_, qdisc, "create the clsact qdisc of " + link), EEXIST);
  if (!made && (made.error().sys_errno() == ENOENT || made.error().sys_errno() == EOPNOTSUPP)) return fail(unsupported);
  if (!made) return made;

  // Without NLM_F_EXCL the same priority and handle replaces: packets see the old or the new program, never none.
  header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
  header.tcm_handle = 1;
  header.tcm_info = TC_H_MAKE(1u << 16, htons(ETH_P_ALL));
  Request filter(RTM_NEWTFILTER, NLM_F_CREATE, header);
  filter.put(TCA_KIND, std::string("bpf")).nest(TCA_OPTIONS, [&](Request& options) {
    options.put(TCA_BPF_FD, static_cast<std::uint32_t>(program));
    options.put(TCA_BPF_NAME, label);
    options.put(TCA_BPF_FLAGS, std::uint32_t{TCA_BPF_FLAG_ACT_DIRECT});
  });
  auto attached = transact(sock_, filter, "attach the source filter of " + link);
  if (!attached && attached.error().sys_errno() == ENOENT) return fail(unsupported);
  return attached;
}

}  // namespace vz

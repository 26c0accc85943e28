// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/quota_netlink.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include <linux/genetlink.h>
#include <linux/quota.h>
#include <sys/sysmacros.h>

#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

namespace vz {

namespace {

struct FreeSocket {
  void operator()(nl_sock* s) const { nl_socket_free(s); }
};

struct Warning {
  std::uint32_t number;
  QuotaEvent::What what;
  bool inodes;
};
using What = QuotaEvent::What;
constexpr Warning kWarnings[] = {
    {QUOTA_NL_IHARDWARN, What::hard_limit, true},      {QUOTA_NL_ISOFTLONGWARN, What::grace_over, true},
    {QUOTA_NL_ISOFTWARN, What::soft_limit, true},      {QUOTA_NL_BHARDWARN, What::hard_limit, false},
    {QUOTA_NL_BSOFTLONGWARN, What::grace_over, false}, {QUOTA_NL_BSOFTWARN, What::soft_limit, false},
    {QUOTA_NL_IHARDBELOW, What::below, true},          {QUOTA_NL_ISOFTBELOW, What::below, true},
    {QUOTA_NL_BHARDBELOW, What::below, false},         {QUOTA_NL_BSOFTBELOW, What::below, false},
};

template <class Integer>
bool get(nlattr* attr, Integer& out) {
  if (!attr || nla_len(attr) != sizeof out) return false;
  std::memcpy(&out, nla_data(attr), sizeof out);
  return true;
}

}  // namespace

std::optional<QuotaEvent> parse_quota_event(const nlmsghdr* message) {
  auto* h = const_cast<nlmsghdr*>(message);
  nlattr* a[QUOTA_NL_A_MAX + 1] = {};
  if (!nlmsg_valid_hdr(h, sizeof(genlmsghdr)) || nlmsg_parse(h, sizeof(genlmsghdr), a, QUOTA_NL_A_MAX, nullptr) != 0)
    return std::nullopt;
  QuotaEvent event;
  std::uint32_t warning = 0, type = 0, device_major = 0, device_minor = 0;
  if (!get(a[QUOTA_NL_A_QTYPE], type) || !get(a[QUOTA_NL_A_EXCESS_ID], event.id) ||
      !get(a[QUOTA_NL_A_WARNING], warning) || !get(a[QUOTA_NL_A_DEV_MAJOR], device_major) ||
      !get(a[QUOTA_NL_A_DEV_MINOR], device_minor))
    return std::nullopt;
  (void)get(a[QUOTA_NL_A_CAUSED_ID], event.cause);
  event.type = type;
  event.device = ::makedev(device_major, device_minor);
  for (const auto& known : kWarnings) {
    if (known.number != warning) continue;
    event.what = known.what;
    event.inodes = known.inodes;
    return event;
  }
  return std::nullopt;
}

Result<QuotaEvents> QuotaEvents::open() {
  std::unique_ptr<nl_sock, FreeSocket> sock(nl_socket_alloc());
  if (!sock) return fail(Error::from_errno(ENOMEM, "open a generic netlink socket"));
  if (int rc = genl_connect(sock.get()); rc < 0)
    return fail(Code::system, std::string("open a generic netlink socket: ") + nl_geterror(rc));
  int group = genl_ctrl_resolve_grp(sock.get(), "VFS_DQUOT", "events");
  if (group < 0)
    return fail(Code::unsupported, "this kernel does not tell of disk quotas (CONFIG_QUOTA_NETLINK_INTERFACE)");
  nl_socket_disable_seq_check(sock.get());
  int rc = nl_socket_add_membership(sock.get(), group);
  if (rc >= 0) rc = nl_socket_set_nonblocking(sock.get());
  if (rc < 0) return fail(Code::system, std::string("events of disk quotas: ") + nl_geterror(rc));
  return QuotaEvents(sock.release());
}

QuotaEvents::QuotaEvents(QuotaEvents&& other) noexcept : sock_(std::exchange(other.sock_, nullptr)) {}

QuotaEvents& QuotaEvents::operator=(QuotaEvents&& other) noexcept {
  std::swap(sock_, other.sock_);
  return *this;
}

QuotaEvents::~QuotaEvents() {
  if (sock_) nl_socket_free(sock_);
}

int QuotaEvents::fd() const { return sock_ ? nl_socket_get_fd(sock_) : -1; }

std::vector<QuotaEvent> QuotaEvents::read(bool* lost) {
  std::vector<QuotaEvent> out;
  auto on_message = [](nl_msg* msg, void* arg) -> int {
    if (auto event = parse_quota_event(nlmsg_hdr(msg))) static_cast<std::vector<QuotaEvent>*>(arg)->push_back(*event);
    return NL_OK;
  };
  nl_socket_modify_cb(sock_, NL_CB_VALID, NL_CB_CUSTOM, on_message, &out);
  // A burst is read up to a bound: the rest makes fd() readable again.
  for (int rounds = 0; rounds < 64; ++rounds) {
    int rc = nl_recvmsgs_default(sock_);
    if (rc == -NLE_NOMEM) *lost = true;  // ENOBUFS
    if (rc < 0 && rc != -NLE_NOMEM) break;
  }
  return out;
}

}  // namespace vz

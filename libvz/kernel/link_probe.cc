// SPDX-License-Identifier: LGPL-2.1-or-later
// Asks for a link that cannot be made: a kernel that knows the kind says what is wrong with it, one that does not says
// so. The kind's module is loaded by the question.
#include <array>
#include <cerrno>
#include <cstring>

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libvz/base/fd.h"
#include "libvz/kernel/features.h"

namespace vz {

namespace {

class Request {
 public:
  Request() {
    header().nlmsg_type = RTM_NEWLINK;
    header().nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    header().nlmsg_len = NLMSG_LENGTH(sizeof(ifinfomsg));
  }
  nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(buffer_.data()); }
  // Returns the attribute so that a nest can be closed by close().
  rtattr* add(unsigned short type, const void* data, std::size_t size) {
    auto* a = reinterpret_cast<rtattr*>(buffer_.data() + NLMSG_ALIGN(header().nlmsg_len));
    a->rta_type = type;
    a->rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
    if (size) std::memcpy(RTA_DATA(a), data, size);
    header().nlmsg_len = NLMSG_ALIGN(header().nlmsg_len) + RTA_ALIGN(a->rta_len);
    return a;
  }
  void close(rtattr* nest) {
    nest->rta_len = static_cast<unsigned short>(buffer_.data() + header().nlmsg_len - reinterpret_cast<char*>(nest));
  }

 private:
  alignas(nlmsghdr) std::array<char, 512> buffer_{};
};

// errno of the acknowledgement, 0 for success, -1 when there was none.
int exchange(Request& request) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd || ::send(fd.get(), &request.header(), request.header().nlmsg_len, 0) < 0) return -1;
  alignas(nlmsghdr) std::array<char, 2048> reply{};
  ssize_t n = ::recv(fd.get(), reply.data(), reply.size(), 0);
  const auto* h = reinterpret_cast<const nlmsghdr*>(reply.data());
  if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))) || h->nlmsg_type != NLMSG_ERROR) return -1;
  return -static_cast<const nlmsgerr*>(NLMSG_DATA(h))->error;
}

}  // namespace

Finding find_link_type(const char* kind) {
  Request request;
  request.add(IFLA_IFNAME, "vzprobe", sizeof "vzprobe");
  request.add(IFLA_ADDRESS, "\x02\x00\x00", 3);  // three bytes are no Ethernet address: EINVAL
  rtattr* info = request.add(IFLA_LINKINFO, nullptr, 0);
  request.add(IFLA_INFO_KIND, kind, std::strlen(kind) + 1);
  request.close(info);
  int err = exchange(request);
  if (err == EINVAL) return {true, ""};
  char buf[128];
  return {false, err < 0 ? "no answer on rtnetlink" : strerror_r(err, buf, sizeof buf)};
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// One rtnetlink request and its answers; shared by the netlink*.cc files only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <linux/netlink.h>

#include <netlink/msg.h>

#include <vz/error.h>

struct nl_sock;

namespace vz::netlink {

// Builds one message. Attributes that do not fit (a page is always enough here) surface as ENOMEM in transact().
class Request {
 public:
  template <class Header>
  Request(int type, int flags, const Header& header) : msg_(nlmsg_alloc_simple(type, flags | NLM_F_REQUEST)) {
    append(&header, sizeof header);
  }
  // A message whose header and attributes were made elsewhere.
  Request(int type, int flags, const std::string& message) : msg_(nlmsg_alloc_simple(type, flags | NLM_F_REQUEST)) {
    append(message.data(), message.size());
  }
  Request& put(int type, const void* data, std::size_t size) {
    if (ok_) ok_ = nla_put(msg_.get(), type, static_cast<int>(size), data) == 0;
    return *this;
  }
  Request& put(int type, std::uint32_t value) { return put(type, &value, sizeof value); }
  Request& put(int type, const std::string& text) { return put(type, text.c_str(), text.size() + 1); }
  // Runs `inner` between the start and the end of a nested attribute.
  Request& nest(int type, const std::function<void(Request&)>& inner) {
    nlattr* start = ok_ ? nla_nest_start(msg_.get(), type) : nullptr;
    ok_ = start != nullptr;
    if (!ok_) return *this;
    inner(*this);
    nla_nest_end(msg_.get(), start);
    return *this;
  }
  Request& append(const void* data, std::size_t size) {
    if (ok_) ok_ = nlmsg_append(msg_.get(), const_cast<void*>(data), size, NLMSG_ALIGNTO) == 0;
    return *this;
  }
  nl_msg* get() const { return ok_ ? msg_.get() : nullptr; }

 private:
  struct Free {
    void operator()(nl_msg* m) const { nlmsg_free(m); }
  };
  std::unique_ptr<nl_msg, Free> msg_;
  bool ok_ = msg_ != nullptr;
};

using OnAnswer = std::function<void(nlmsghdr*)>;

// Sends the request and waits for the kernel's verdict; every data message goes to `on_answer`. The error has the
// kernel's errno (sys_errno()) and, where the kernel gives one, its own explanation: "what: why: strerror".
Result<> transact(nl_sock* sock, const Request& request, std::string_view what, const OnAnswer& on_answer = {});

// Index of a link in the socket's namespace; Code::netdev with ENODEV when there is none.
Result<int> link_index(nl_sock* sock, const std::string& name);
struct LinkInfo {
  std::string name;
  unsigned flags = 0;  // IFF_*
};
Result<LinkInfo> link_info(nl_sock* sock, int index);

// `done` when the error is the given errno, the result itself otherwise.
inline Result<> accept_errno(Result<> result, int accepted) {
  if (!result && result.error().sys_errno() == accepted) return {};
  return result;
}

}  // namespace vz::netlink

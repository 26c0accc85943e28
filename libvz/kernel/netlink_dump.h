// SPDX-License-Identifier: LGPL-2.1-or-later
// Dumps of the netlink families that libnl-route does not speak: sockets, packet filter rules.
#pragma once

#include <functional>
#include <span>

#include <vz/error.h>
#include "libvz/base/fd.h"

struct nlmsghdr;

namespace vz {

// A netlink socket of that family in the calling thread's network namespace.
Result<UniqueFd> open_netlink(int family);

// Sends `request` with NLM_F_DUMP and calls back for every message of the answer. A kernel that lacks the family or the
// message answers with an error: Code::unsupported.
Result<> netlink_dump(const UniqueFd& socket, int type, std::span<const unsigned char> request,
                      const std::function<void(const nlmsghdr&)>& on_message);

template <class Header>
Result<> netlink_dump(const UniqueFd& socket, int type, const Header& request,
                      const std::function<void(const nlmsghdr&)>& on_message) {
  return netlink_dump(socket, type, {reinterpret_cast<const unsigned char*>(&request), sizeof request}, on_message);
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets of a network namespace and the memory in their queues, as the kernel tells it to everybody.
#pragma once

#include <cstdint>
#include <optional>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

struct SocketCounts {
  std::uint64_t tcp = 0;    // bound, listening or connected
  std::uint64_t other = 0;  // all others, with TCP sockets that are none of these yet
};
// Of the network namespace that process `pid` is in.
Result<SocketCounts> count_sockets(pid_t pid);

// Bytes in queues, with the kernel's overhead.
struct SocketMemory {
  std::uint64_t tcp_send = 0, tcp_receive = 0;
  std::uint64_t other_send = 0, other_receive = 0;
};
// For open_netlink(), in the namespace that is meant.
inline constexpr int kSocketDiagnosis = 4;  // NETLINK_SOCK_DIAG
// `diag`: a socket of that family. Kinds of sockets that this kernel
// cannot list (a module is missing) count nothing.
Result<SocketMemory> sum_socket_memory(const UniqueFd& diag);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Packet filter rules of a network namespace.
#pragma once

#include <cstdint>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/base/fd.h"

namespace vz {

// Whether this kernel has any rules of that kind: their modules come with the first one.
enum class PacketFilter { nftables, iptables };
bool has_packet_filter(PacketFilter kind);

// Sockets that were made in the namespace.
struct PacketRuleSockets {
  UniqueFd nftables;  // open_netlink(NETLINK_NETFILTER)
  UniqueFd v4, v6;    // for iptables
};
Result<PacketRuleSockets> open_packet_rule_sockets();

// nftables rules, and entries of iptables tables that are in use. Asks for no table that is not there: that would make
// it. `pid`: a process in the namespace.
Result<std::uint64_t> count_packet_rules(const PacketRuleSockets& sockets, pid_t pid);

// Whether the calling thread's namespace has a table of any of them, which may have chains and policies without rules.
Result<bool> has_packet_tables();

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// What a network namespace is set to, read in one place and made again in another: for a container that moves and
// whose namespace has no more than the devices that vz gave it. CRIU does the same for all namespaces, by running
// ip(8) and iptables-save(8) a dozen times while the container stands still.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <vz/error.h>

namespace vz {

struct NetDevice {
  std::string name;
  int index = 0;
  unsigned flags = 0;  // IFF_*
  unsigned mtu = 0;    // bytes
  bool operator==(const NetDevice&) const = default;
};

struct NetState {
  std::vector<NetDevice> devices;  // also "lo"
  // rtnetlink(7) messages, ifaddrmsg and rtmsg with their attributes, as the kernel tells them.
  std::vector<std::string> addresses, routes;
  std::vector<std::pair<std::string, std::string>> sysctls;  // below /proc/sys/net, in the order in which to set them
  bool operator==(const NetState&) const = default;
};

// Of the calling thread's namespace, which is to have these devices beside lo. nullopt: it has others, or what cannot
// be made again (rules of routing, routes of an unusual kind); `why` says what. Packet filters are the caller's to look
// for (has_packet_tables()).
Result<std::optional<NetState>> read_net_state(const std::vector<std::string>& devices, std::string* why);

// Into the calling thread's namespace, which is new and has the devices, by name and index. What is of no use to go
// without fails; settings that this kernel does not have, or refuses, are returned.
Result<std::vector<std::string>> write_net_state(const NetState& state);

}  // namespace vz

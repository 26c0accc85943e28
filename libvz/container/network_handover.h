// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a container's addresses are, when that changes.
#pragma once

#include <map>
#include <string>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include "libvz/kernel/packet_keeper.h"

namespace vz {

// Tells the segments that the container is connected to that its addresses are here: routed ones on the uplinks, others
// through the container's own devices. Best effort; who is asked by ARP or ND learns it anyway.
void announce_network(const Config& config, const UniqueFd& netns);

// The routed addresses of a container that is on its way: from now on their packets come here, and are kept until it
// can receive them.
class NetworkTakeover {
 public:
  static Result<NetworkTakeover> begin(const Config& config);
  // Returns how many packets there were.
  Result<std::size_t> deliver(Ctid id);

 private:
  std::map<std::string, PacketKeeper> keepers_;  // by link
};

}  // namespace vz

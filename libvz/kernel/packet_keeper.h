// SPDX-License-Identifier: LGPL-2.1-or-later
// Keeping what is sent to addresses while whoever has them cannot receive: their sender would notice a loss only after
// a timeout, which doubles with each further loss, and is much longer than the moment for which nobody listened.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/kernel/netlink.h"
#include "libvz/kernel/packet_socket.h"

namespace vz {

class PacketKeeper {
 public:
  // Frames to `addresses` that arrive on `link` are kept from now on, up to 16 MiB of them. The kernel does with them
  // what it would do anyway.
  static Result<PacketKeeper> open(const std::string& link, const std::vector<IpAddress>& addresses);

  // Sends them out of `link`, as from and to `mac`: what a routed container's end of a link accepts. Returns how many.
  Result<std::size_t> deliver(const std::string& link, const MacAddress& mac);

 private:
  explicit PacketKeeper(PacketSocket socket) : socket_(std::move(socket)) {}
  // The kernel closes such sockets after an RCU grace period, 5 to 14 ms: when this ends, not while somebody waits.
  PacketSocket socket_;
  std::optional<PacketSocket> out_;
};

}  // namespace vz

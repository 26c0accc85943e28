// SPDX-License-Identifier: LGPL-2.1-or-later
// Telling a network segment behind which card an address is from now on.
#pragma once

#include <string>

#include <vz/error.h>
#include "libvz/kernel/netlink.h"

namespace vz {

// Broadcasts that `a` is at the card of `link`, a device of the caller's namespace: ARP announcement (RFC 5227), for
// IPv6 an unsolicited neighbour advertisement (RFC 4861). Neighbours that know another card for it correct that.
// Nothing is done on a link that is no Ethernet.
Result<> announce_address(const std::string& link, const IpAddress& a);

// ARP or ICMPv6 with its Ethernet header, for announce_address() and its test.
std::string announcement_frame(const MacAddress& mac, const IpAddress& a);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// The program behind set_source_filter() as data, so that it can be tested without loading it.
#pragma once

#include <cstddef>
#include <vector>

#include <linux/bpf.h>

#include <vz/error.h>
#include "libvz/kernel/netlink.h"

namespace vz {

// Bounded by the reach of a jump (32767 slots; an IPv6 address takes eight) and by the time that the verifier needs.
inline constexpr std::size_t kMaxFilterAddresses = 1024;

// A classifier that returns TC_ACT_UNSPEC (go on to the administrator's own filters) for an allowed frame and
// TC_ACT_SHOT for any other. With a MAC: the Ethernet source must be it. With addresses, or with neither: only
// untagged IPv4 and IPv6 frames whose source is listed; an empty list allows nothing.
// Code::bad_value for more than kMaxFilterAddresses.
Result<std::vector<bpf_insn>> build_source_filter(const SourceFilter& filter);

}  // namespace vz

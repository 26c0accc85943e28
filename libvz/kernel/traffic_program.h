// SPDX-License-Identifier: LGPL-2.1-or-later
// The program behind TrafficMaps::attach() as data, so that it can be tested without a device.
#pragma once

#include <cstdint>
#include <vector>

#include <linux/bpf.h>

#include "bpf/vz_maps.h"

namespace vz {

// A classifier for one direction of one container's device. It counts and lets everything pass (TCX_NEXT): `counts` is
// the map "vz_net", `classes` the map "vz_net_classes".
std::vector<bpf_insn> build_traffic_program(std::uint32_t ctid, vz_net_direction direction, int counts, int classes);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <vector>

#include <linux/bpf.h>

#include "libvz/kernel/devices.h"

namespace vz {

// The program of attach_device_rules(): returns 1 when one rule grants all of the wanted access, else 0.
std::vector<bpf_insn> build_device_program(const std::vector<DeviceRule>& rules);

}  // namespace vz

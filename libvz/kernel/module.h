// SPDX-License-Identifier: LGPL-2.1-or-later
// Kernel modules.
#pragma once

#include <string>
#include <vector>

#include <vz/error.h>

namespace vz {

// In the running kernel: loaded, or built in with something to show in /sys/module.
bool module_loaded(const std::string& name);
// modprobe(8), which loads what the module needs, too. One that is loaded already is fine. Code::unsupported with
// modprobe's own words when it cannot be loaded.
Result<> load_module(const std::string& name, const std::vector<std::string>& parameters = {});

}  // namespace vz

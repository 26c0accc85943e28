// SPDX-License-Identifier: LGPL-2.1-or-later
// Classes of networks, and which devices are counted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include <vz/usage.h>
#include "libvz/kernel/traffic.h"

namespace vz {

std::string network_classes_path(const Host& host);
// The text of networks_classes, behind two lines that make everything else class 1. Code::bad_config names the line.
Result<std::vector<ClassedNetwork>> parse_network_classes(std::string_view text, const std::string& path);

// Counts the container's traffic on the host's end of its new device, which is still down.
// Failing is a warning: the container works.
void count_traffic(const Host& host, Ctid id, const std::string& link, Reporter& reporter);
// The same for any thread: returns what there is to warn of.
std::vector<std::string> begin_counting(const Host& host, Ctid id, const std::string& link);
// A new container of this number begins at zero.
void forget_traffic(Ctid id);

Traffic to_traffic(const vz_net& counts);

}  // namespace vz

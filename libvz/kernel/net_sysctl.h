// SPDX-License-Identifier: LGPL-2.1-or-later
// Settings below /proc/sys/net of the calling thread's network namespace (with_netns() to change another one).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>

namespace vz {

// `name` in path form: "ipv4/conf/eth0/forwarding" (a device name may have dots). Missing: ENOENT in the error.
Result<> write_net_sysctl(const std::string& name, std::string_view value);
// The same, but a setting that this kernel does not have is no error (IPv6 or MPTCP switched off).
Result<> write_net_sysctl_if_present(const std::string& name, std::string_view value);
std::optional<std::string> read_net_sysctl(const std::string& name);  // nullopt: this kernel does not have it
std::vector<std::string> list_net_sysctls(const std::string& directory);

}  // namespace vz

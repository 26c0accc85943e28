// SPDX-License-Identifier: LGPL-2.1-or-later
// Settings below /proc/sys/net of the calling thread's network namespace (with_netns() to change another one).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <vz/error.h>

namespace vz {

// `name` in path form: "ipv4/conf/eth0/forwarding" (a device name may have dots). Missing: ENOENT in the error.
Result<> write_net_sysctl(const std::string& name, std::string_view value);
// The same, but a setting that this kernel does not have is no error (IPv6 or MPTCP switched off).
Result<> write_net_sysctl_if_present(const std::string& name, std::string_view value);
// Several settings (name, value) of a namespace that the thread has just entered, each if present. It goes through a
// procfs instance of its own: in the host's, every namespace would leave entries of the same names in one hash chain,
// and each next container would search a longer one.
Result<> write_net_sysctls_apart(const std::vector<std::pair<std::string, std::string>>& settings);
std::optional<std::string> read_net_sysctl(const std::string& name);  // nullopt: this kernel does not have it
std::vector<std::string> list_net_sysctls(const std::string& directory);

}  // namespace vz

// SPDX-License-Identifier: GPL-2.0-or-later
// Settings as options: every row of vz::params() that has an option, read back into what the library wants.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <vz/config.h>
#include <vz/container.h>
#include <vz/error.h>
#include "vzctl/command.h"
#include "vzctl/options.h"

namespace vzctl {

// One row as an option.
Option setting_option(const vz::Param& param);
// Rows for the parser and for help. Their strings live as long as the process.
std::vector<Option> setting_options(Settings use);
// Heading of the row in help and man page, in the order of the table.
std::vector<std::string_view> setting_groups(Settings use);
std::vector<Option> setting_options_of(Settings use, std::string_view group);

// Canonical file text of all plain settings that were given. Lists join repeated options.
vz::Result<vz::Config> settings_from(const Options& options);

// Addresses, devices and the password, which are changes and not values.
vz::Result<> special_settings_from(const Options& options, vz::SetOptions& out);

// NETIF with `key` of the record `ifname` changed: --ifname eth0 --mac …. Code::netdev when there is no such record.
vz::Result<std::string> edit_netif(std::string_view netif, std::string_view ifname, std::string_view key,
                                   std::string_view value);

// The rules between options of `set` (`current`: the merged configuration).
vz::Result<> check_set_rules(const Options& options, const vz::SetOptions& set, const vz::Config& current);

}  // namespace vzctl

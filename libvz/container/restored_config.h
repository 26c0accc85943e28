// SPDX-License-Identifier: LGPL-2.1-or-later
// The configuration that a snapshot or a backup brings back.
#pragma once

#include <string>

#include <vz/config.h>
#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

// Becomes ID.conf, but for where the container is, and for a name that another container has by now.
Result<> adopt_config(const Host& host, Ctid id, Config then, Reporter& reporter);

// In a private area that is about to take the place of the container's: the configuration that belongs to it.
Result<> leave_config(const std::string& private_path, const Config& config);
// They have changed places, and the next one is yet to come.
bool has_restored_config(const std::string& private_path);
// After they changed places: it becomes ID.conf, and what was there before goes. True when there was one.
Result<bool> settle_restored_config(const Host& host, Ctid id, const std::string& private_path, Reporter& reporter);

}  // namespace vz

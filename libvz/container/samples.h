// SPDX-License-Identifier: LGPL-2.1-or-later
// Sample configurations: ETC/conf/ve-NAME.conf-sample.
#pragma once

#include <string>
#include <vector>

#include <vz/config.h>
#include <vz/error.h>
#include <vz/host.h>

namespace vz {

std::string sample_path(const Host& host, const std::string& name);

// Code::copy_config `Sample config X not found`, also for a name with '/'.
Result<Config> load_sample(const Host& host, const std::string& name);
Result<std::vector<std::string>> list_samples(const Host& host);  // names, sorted

}  // namespace vz

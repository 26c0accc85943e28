// SPDX-License-Identifier: LGPL-2.1-or-later
// From settings to what a new private area must be: for create and convert.
#pragma once

#include <string>

#include <vz/config.h>
#include <vz/error.h>
#include "libvz/container/rootfs.h"

namespace vz {

// Where it is made, and where it goes to be removed: neither is ever taken for a container's.
std::string temporary_private(const std::string& private_path);

// What a killed create or convert left there. Only what is recognised is removed.
Result<> remove_leftover_private(const std::string& private_path);

// `inodes_asked_for`: the admin gave DISKINODES himself, it is not lowered to what suits the size. Pure.
Result<PrivateSpec> plan_private(const Config& merged, Layout layout, const std::string& dest, std::string archive,
                                 bool inodes_asked_for);

}  // namespace vz

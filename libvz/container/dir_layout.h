// SPDX-License-Identifier: LGPL-2.1-or-later
// The dir layout: PRIVATE/fs, a directory on the host's file system whose files belong to the container's own ids.
#pragma once

#include <string>

#include <vz/error.h>
#include <vz/reporter.h>
#include "libvz/container/mount_options.h"
#include "libvz/container/rootfs.h"

namespace vz {

std::string dir_path(const std::string& private_path);

// Code::unsupported for a disk limit that this file system cannot enforce.
Result<> make_dir(const PrivateSpec& spec, Reporter& reporter);
Result<RootMount> mount_dir(const std::string& dir, IdMap idmap, const RootOptions& options, bool host_view);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/kernel/process.h"

namespace vz {

// Type and numbers of a device of the host, /dev/NAME ("sdb", "net/tun"). Code::devices for a missing one, a name
// that leaves /dev, something that is no device, and loop devices (whose backing file a container could change).
Result<DeviceNode> read_device_node(const std::string& name);

// The nodes on a tmpfs of the host's user namespace that is attached nowhere: owned by the container's root, usable
// there, gone with the last mount of it. "net/tun" is called "net!tun" there.
Result<UniqueFd> make_device_tmpfs(const std::vector<DeviceNode>& devices, IdMap idmap);
std::string device_file_name(std::string name);

// Makes or removes /dev/NAME in a running container: the node is made on a detached tmpfs of the host, owned by the
// container's root, and bind-mounted onto an empty file below the container's /dev (no symlink is followed).
Result<> attach_device_node(const UniqueFd& init_pidfd, IdMap idmap, const DeviceNode& node);
Result<> detach_device_node(const UniqueFd& init_pidfd, const std::string& name);

}  // namespace vz

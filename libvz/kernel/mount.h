// SPDX-License-Identifier: LGPL-2.1-or-later
// The file-descriptor mount API (fsopen(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2)).
// Detached mounts are held by an fd and vanish with it: a killed vzctl leaves no mount behind.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <linux/mount.h>  // MOUNT_ATTR_*, for our callers too

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/idmap.h"

namespace vz {

// (key, value); an empty value is a flag. `attrs` are MOUNT_ATTR_*.
using MountOptions = std::vector<std::pair<std::string, std::string>>;
Result<UniqueFd> new_mount(const char* fstype, const MountOptions& options, std::uint64_t attrs);
Result<UniqueFd> clone_mount(int dirfd, const std::string& path, bool recursive);  // open_tree(CLONE), private
Result<> set_idmap(int mount_fd, const UniqueFd& userns);
Result<> set_attrs(int mount_fd, std::uint64_t set, std::uint64_t clear, bool recursive);
Result<> attach_mount(int mount_fd, int dirfd, const std::string& path);  // move_mount
Result<> detach_path(const std::string& path);                            // umount2(MNT_DETACH); EINVAL is fine
bool is_mount_point(const std::string& path);                             // by STATX_ATTR_MOUNT_ROOT

}  // namespace vz

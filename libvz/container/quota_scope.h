// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the user and group quotas of a container are: in a file system of its own (image layout), or among those of the
// host's (dir layout), at the ids that are the container's there.
#pragma once

#include <cstdint>
#include <string>

#include <vz/config.h>
#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/container/state.h"
#include "libvz/kernel/process.h"
#include "libvz/kernel/quota_call.h"

namespace vz {

struct QuotaScope {
  QuotaView view;
  IdMap idmap;
  std::string image, device;  // image layout: PRIVATE/root.img and its /dev/loopN
  std::string directory;      // dir layout
  std::string special;        // what quotactl(2) inside calls the file system: as its /proc/self/mounts
  std::uint64_t user_namespace = 0;
};

// Of a running container. Code::unsupported: its layout has no file system with quotas.
Result<QuotaScope> quota_scope(const std::string& private_path, const State& state);

// A descriptor on the file system for quotactl_fd(2), not through anything that the container could have changed.
// Checked to be the container's own: a loop device serves another image when its container has ended.
Result<UniqueFd> open_quota_file_system(const QuotaScope& scope);

// The device number that the kernel's events name; 0: unknown.
dev_t quota_device(const QuotaScope& scope);

// Of users and groups both; false where the kernel or the file system has none.
Result<bool> user_quota_counted(int fs);
Result<bool> user_quota_enforced(int fs);

// QUOTAUGIDLIMIT: "on" when it is not 0.
bool wants_user_quota(const Config& config);

// For a start, with the root's detached mount: switches limits on or off in an image; a directory's file system is the
// host's, there it is checked. Code::unsupported with the remedy.
Result<> prepare_user_quota(const std::string& private_path, int root, bool on);
// Whether the kernel itself answers quotactl(2) of a container with this private area. It takes ids as they are on
// disk, and those of an image are mapped by its mount: there vzd answers on every kernel.
Result<bool> kernel_answers_quota_calls(const std::string& private_path);
// The name of the root's file system in /proc/self/mounts, "" when it is not below /dev.
std::string quota_special(const std::string& private_path, const std::string& root_device);
// quota(1) and its like insist on a device of that name, with the number that files on `root` have.
Result<DeviceNode> quota_node(const std::string& special, int root);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>

#include <vz/error.h>
#include "libvz/container/rootfs.h"
#include "libvz/kernel/mount.h"

namespace vz {

// The admin's --mount_opts, sorted into what belongs to one mount and what to the ext4 superblock.
struct RootOptions {
  std::uint64_t attrs = 0;  // MOUNT_ATTR_*
  MountOptions ext4;        // image layout only
};
// Comma-separated, as in fstab. Only options that cannot hurt the host are known (no errors=panic, no journal_dev).
// Code::bad_value for anything else, and for an ext4 option with the dir layout. Pure.
Result<RootOptions> parse_mount_opts(const std::string& text, Layout layout);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// What libvz needs of ext4 itself: the state in its superblock, and growing while mounted.
#pragma once

#include <cstdint>
#include <string_view>

#include <vz/error.h>

namespace vz {

struct Ext4State {
  std::uint64_t bytes = 0;    // size of the file system
  bool errors = false;        // the kernel met an inconsistency, or a check or resize was cut short
  bool quota = false;         // has quota files of its own, so the kernel needs quota_v2 to write to it
  bool needs_replay = false;  // was not unmounted; the kernel replays the journal at mount
  bool needs_check() const { return errors; }
};
constexpr std::size_t kExt4SuperblockOffset = 1024;
constexpr std::size_t kExt4SuperblockSize = 1024;

// `raw`: the 1024 bytes at offset 1024. Code::mount_image when that is no ext4.
Result<Ext4State> parse_ext4_superblock(std::string_view raw);
Result<Ext4State> read_ext4_state(int image_fd);

// Grows a mounted file system to the size of its device; `mount_fd` is its root (O_PATH is fine).
// Needs CAP_SYS_RESOURCE in the initial user namespace.
Result<> grow_mounted_ext4(int mount_fd, std::uint64_t bytes);

// Tells the device which blocks of a mounted file system are free (fitrim); the number of bytes told.
Result<std::uint64_t> trim_mounted(int mount_fd);

}  // namespace vz

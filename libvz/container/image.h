// SPDX-License-Identifier: LGPL-2.1-or-later
// The image layout: PRIVATE/root.img, an ext4 file system with ids from 0 in a sparse file.
//
// The file system's features are fixed here, not by the host's mke2fs.conf, so that an image moves between Debian
// releases. Its inode count is fixed by mkfs: --diskinodes of an existing image cannot change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vz/error.h>
#include <vz/reporter.h>
#include "libvz/container/mount_options.h"
#include "libvz/container/rootfs.h"
#include "libvz/kernel/fs_freeze.h"
#include "libvz/kernel/idmap.h"

namespace vz {

std::string image_path(const std::string& private_path);

// Makes PRIVATE/root.img and unpacks the template into it; on disk when it returns.
Result<> make_image(const PrivateSpec& spec, Reporter& reporter);
Result<RootMount> mount_image(const std::string& image, IdMap idmap, const RootOptions& options, bool host_view,
                              bool fsck, Reporter& reporter);
// The container runs on `device`.
Result<> grow_image_online(const std::string& image, const std::string& device, std::uint64_t bytes,
                           Reporter& reporter);
// Discards what is free; `device` empty: the container does not run. Returns how much smaller the file became.
Result<std::uint64_t> compact_image(const std::string& image, const std::string& device, IdMap idmap,
                                    Reporter& reporter);
// Of an image that is mounted, by its container or on the host; nullopt when it is not, and nothing has to be stopped.
Result<std::optional<FrozenFs>> freeze_image(const std::string& image);
// e2fsck -f: whatever an image from elsewhere says about itself. Code::mount_image when it cannot be repaired.
Result<> check_image(const std::string& image, Reporter& reporter);
// A snapshot for looking at: nothing is written, not even a journal replayed.
Result<RootMount> mount_image_read_only(const std::string& image);
Result<> resize_image_offline(const std::string& image, std::uint64_t bytes, Reporter& reporter);

// The number in "Estimated minimum size of the filesystem: N" of resize2fs -P, in blocks. Pure.
Result<std::uint64_t> parse_minimum_blocks(const std::string& output);

}  // namespace vz

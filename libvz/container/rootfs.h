// SPDX-License-Identifier: LGPL-2.1-or-later
// The two storage layouts: `image` (one ext4 in a sparse file on a loop device) and `dir` (a directory with shifted
// ids).
//
// On disk: PRIVATE/image (root.img) or PRIVATE/fs (dir layout), and PRIVATE/layout with the layout's name and version.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vz/config.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>
#include "libvz/base/fd.h"
#include "libvz/container/dir_quota.h"
#include "libvz/kernel/idmap.h"

namespace vz {

enum class Layout { image, dir };
Result<Layout> parse_layout(const std::string& text);  // image|ploop, dir|simfs (ploop:expanded etc. accepted)
const char* layout_name(Layout l);

// Makes and fills a private area at `dest` (which must not exist) from a template archive. The caller renames it to
// its final place. Unpacking runs in a user namespace with the container's ids: a hostile archive writes only below
// its root and makes no device. Reports progress ("unpack", bytes done, bytes total).
// Codes: no_disk_space, bad_template (corrupt, no /bin/sh), create_image, unsupported (dir with a disk limit on a file
// system without project quota).
struct PrivateSpec {
  std::string dest;
  Layout layout = Layout::image;
  std::string archive;
  const UniqueFd* source = nullptr;  // convert: a detached mount whose files are copied instead
  std::uint64_t source_bytes = 0;    // about how many, for progress
  std::uint64_t disk_bytes = 0;      // image: size of the file system
  std::uint64_t inodes = 0;          // image: 0: mkfs default
  DiskLimits disk;                   // dir
  IdMap idmap;
};
Result<> make_private(const PrivateSpec& spec, Reporter& reporter);
// Last of all: an area with this file is complete. On disk when it returns.
Result<> write_layout(const std::string& private_path, Layout layout);
// The spec's archive or source into an empty tree.
Result<> fill_tree(const PrivateSpec& spec, const UniqueFd& tree, bool own_disk, Reporter& reporter);
// Removes a private area, or what there is of one, with its limits; missing is fine.
Result<> remove_private(const std::string& private_path);

// A detached mount of the container's root, ready to be init's "/" (image: idmapped). `host_view` instead gives a
// nosuid,nodev mount for looking at it from the host. fsck -p runs first on an image not cleanly unmounted.
struct RootMount {
  UniqueFd mount;
  std::string device;  // /dev/loopN, "" for dir
};
Result<RootMount> mount_private(const std::string& private_path, IdMap idmap, const std::string& mount_opts,
                                bool host_view, bool fsck, Reporter& reporter);
Result<Layout> private_layout(const std::string& private_path);
bool private_exists(const std::string& private_path);

// Gives free blocks back to the host; how many bytes. Nothing for a directory.
Result<std::uint64_t> compact_private(const std::string& private_path, const std::string& device, IdMap idmap,
                                      Reporter& reporter);

// Online grow (the container runs; device = its loop device) or offline grow/shrink (device empty).
Result<> resize_private(const std::string& private_path, const std::string& device, std::uint64_t disk_bytes,
                        Reporter& reporter);

// Id ranges: allocated once per container, recorded in LIB/idmap, never overlapping another container, /etc/subuid
// or /etc/subgid. Range for allocation: 1879048192..2147483647 (free in systemd's UIDS-GIDS).
// Returns the recorded one when there is one. `preferred`: of a container that comes from another host.
Result<IdMap> allocate_idmap(const Host& host, Ctid id, std::optional<IdMap> preferred = {});
Result<std::optional<IdMap>> recorded_idmap(const Host& host, Ctid id);
Result<> release_idmap(const Host& host, Ctid id);

}  // namespace vz

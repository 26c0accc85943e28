// SPDX-License-Identifier: LGPL-2.1-or-later
// A template archive into the tree of a new container.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>
#include <vz/reporter.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/idmap.h"

namespace vz {

// The decompressor that the first bytes of an archive call for: empty for a bare tar, nullopt for what is no archive.
std::optional<std::vector<std::string>> choose_decompressor(std::string_view head);

// What tar said on stderr, sorted.
struct TarMessages {
  unsigned devices = 0;             // nodes it could not make (nobody can, in a user namespace)
  unsigned attributes = 0;          // extended attributes that this file system or user may not set
  bool no_space = false;            // stop now
  std::vector<std::string> errors;  // the rest, in order
};
TarMessages sort_tar_messages(std::string_view text);

// Unpacks into `tree` (detached mount that shows the container's ids; it is used up but stays readable through the
// descriptor) and writes everything to disk. Code::bad_template, Code::no_disk_space.
// `own_disk`: the tree is a file system of its own, whose size may be what does not suffice.
Result<> unpack_archive(const std::string& archive, const UniqueFd& tree, bool own_disk, IdMap idmap,
                        Reporter& reporter);

// Copies all files of `source`, a detached mount like `tree`, with the ids that the container sees. Sockets are left
// out. `bytes`: about how much there is, for progress; 0: unknown. Code::convert_image, Code::no_disk_space.
Result<> copy_tree(const UniqueFd& source, const UniqueFd& tree, bool own_disk, IdMap idmap, std::uint64_t bytes,
                   Reporter& reporter);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/private_plan.h"

#include <algorithm>
#include <cstdint>

#include "libvz/container/dir_layout.h"
#include "libvz/container/image.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

// One inode for each 8 KiB at the most: a sample's number on a small disk would leave no room for files. What the
// admin asked for by --diskinodes is taken as it is.
std::uint64_t fitting_inodes(std::uint64_t configured, std::uint64_t disk_bytes, bool asked_for) {
  constexpr std::uint64_t kBytesPerInode = 8192;
  return asked_for ? configured : std::min(configured, disk_bytes / kBytesPerInode);
}

}  // namespace

std::string temporary_private(const std::string& private_path) { return private_path + ".tmp"; }

Result<> remove_leftover_private(const std::string& private_path) {
  const auto temporary = temporary_private(private_path);
  auto names = list_dir(temporary);
  if (!names) return {};
  const bool ours =
      names->empty() || private_exists(temporary) || exists(dir_path(temporary)) || exists(image_path(temporary));
  if (!ours) return {};
  return remove_private(temporary);
}

Result<PrivateSpec> plan_private(const Config& merged, Layout layout, const std::string& dest, std::string archive,
                                 bool inodes_asked_for) {
  PrivateSpec spec;
  spec.dest = dest;
  spec.layout = layout;
  spec.archive = std::move(archive);
  if (layout == Layout::dir) {
    spec.disk = disk_limits(merged);
    return spec;
  }
  auto space = merged.limit("DISKSPACE");
  if (space && space->limit != Limit::kUnlimited) spec.disk_bytes = space->limit * 1024;
  if (spec.disk_bytes == 0)
    return fail(Error(Code::no_diskspace, "Error: diskspace not set (required for the image layout)")
                    .with_hint("give --diskspace SIZE or a sample with DISKSPACE"));
  auto inodes = merged.limit("DISKINODES");
  if (!inodes || inodes->limit == Limit::kUnlimited) return spec;
  spec.inodes = fitting_inodes(inodes->limit, spec.disk_bytes, inodes_asked_for);
  return spec;
}

}  // namespace vz

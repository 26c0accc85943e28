// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/dir_layout.h"

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"

namespace vz {

std::string dir_path(const std::string& private_path) { return private_path + "/fs"; }

Result<> make_dir(const PrivateSpec& spec, Reporter& reporter) {
  auto dir = dir_path(spec.dest);
  reporter.step("create.dir");
  VZ_TRY(make_dirs(dir, 0755));
  VZ_TRY(set_owner(dir, spec.idmap.base, spec.idmap.base));
  VZ_TRY(start_dir_quota(spec.dest, spec.idmap, spec.disk));
  UniqueFd mount = VZ_TRY(clone_mount(AT_FDCWD, dir, false));
  VZ_TRY(set_attrs(mount.get(), MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, false));
  reporter.step("create.unpack");
  return fill_tree(spec, mount, spec.disk.any(), reporter);
}

Result<RootMount> mount_dir(const std::string& dir, IdMap idmap, const RootOptions& options, bool host_view) {
  UniqueFd mount = VZ_TRY(clone_mount(AT_FDCWD, dir, false));
  auto owner = VZ_TRY(owner_of(mount.get()));
  // A container whose ids were lost or reused must not start on files of another.
  if (owner < idmap.base || owner - idmap.base >= idmap.count)
    return fail(Error(Code::mount, fmt::format("{} belongs to uid {}, outside of the container's ids {}..{}", dir,
                                               owner, idmap.base, idmap.base + (idmap.count - 1)))
                    .with_hint("the file `idmap` in vz's state directory was changed; put the container's line back"));
  std::uint64_t set = options.attrs | MOUNT_ATTR_NODEV;
  if (host_view) set |= MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  // The atime mode is one field: it must be cleared as a whole to be set.
  std::uint64_t clear = options.attrs & MOUNT_ATTR__ATIME ? MOUNT_ATTR__ATIME : 0;
  VZ_TRY(set_attrs(mount.get(), set, clear, false));
  return RootMount{std::move(mount), ""};
}

}  // namespace vz

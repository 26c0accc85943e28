// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/owner_dir.h"

#include "libvz/container/context.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"

namespace vz {

std::string owner_dir(const Host& host, Ctid id) { return host.run_dir(id) + "/owner"; }

Result<UniqueFd> mount_owner_dir(const Host& host, Ctid id) {
  const std::string dir = owner_dir(host, id);
  VZ_TRY(make_dirs(dir, 0755));
  VZ_TRY(set_mode(dir, 0755));  // whatever the umask
  UniqueFd mount = VZ_TRY(clone_mount(AT_FDCWD, dir, false));
  VZ_TRY(
      set_attrs(mount.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0, false));
  return mount;
}

bool wants_owner_backups(const Config& merged) { return feature_on(merged, "backups"); }

Result<> check_owner_backups(const Config& merged) {
  if (!wants_owner_backups(merged)) return {};
  auto space = merged.limit("BACKUP_SPACE");
  if (space && space->limit != Limit::kUnlimited && space->limit > 0) return {};
  return fail(Error(Code::bad_value,
                    "--features backups:on needs --backup-space: without it the container could fill "
                    "the disk with backups")
                  .with_hint("give both, as in --features backups:on --backup-space 20G"));
}

}  // namespace vz

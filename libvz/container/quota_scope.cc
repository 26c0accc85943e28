// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/quota_scope.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/dir_layout.h"
#include "libvz/container/image.h"
#include "libvz/container/rootfs.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/loopdev.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/mount_table.h"
#include "libvz/kernel/quota.h"
#include "libvz/kernel/seccomp_notify.h"

namespace vz {

namespace {

constexpr std::uint64_t kLook = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

std::string source_of(std::string_view mountinfo, const std::string& device) {
  for (auto& mount : parse_mounts(mountinfo))
    if (mount.device == device) return std::move(mount.source);
  return "";
}

Error not_counted(const std::string& what) {
  return Error(Code::unsupported, "--quotaugidlimit cannot be enforced: " + what);
}

// Counted, and their limits hold, for users and groups alike.
Result<bool> all_are(int fs, bool QuotaState::*what) {
  for (auto type : {QuotaType::user, QuotaType::group})
    if (!(VZ_TRY(quota_state(fs, type)).*what)) return false;
  return true;
}

Result<> prepare_image(int root, bool on) {
  if (on && !VZ_TRY(all_are(root, &QuotaState::counted)))
    return fail(not_counted("the image has no user and group quotas, or this kernel has none (module quota_v2)")
                    .with_hint("an image of an older vz gets them while it is stopped: tune2fs -O quota -Q "
                               "usrquota,grpquota"));
  for (auto type : {QuotaType::user, QuotaType::group}) {
    auto state = VZ_TRY(quota_state(root, type));
    if (state.counted && state.enforced != on) VZ_TRY(enforce_quota(root, type, on));
  }
  return {};
}

}  // namespace

Result<bool> user_quota_counted(int fs) { return all_are(fs, &QuotaState::counted); }
Result<bool> user_quota_enforced(int fs) { return all_are(fs, &QuotaState::enforced); }

bool wants_user_quota(const Config& config) { return config.number("QUOTAUGIDLIMIT").value_or(0) > 0; }

Result<QuotaScope> quota_scope(const std::string& private_path, const State& state) {
  QuotaScope scope;
  scope.idmap = state.idmap;
  scope.view.count = state.idmap.count;
  scope.special = state.quota_special;
  if (state.layout == layout_name(Layout::image)) {
    scope.image = image_path(private_path);
    scope.device = state.root_device;
    scope.view.own_file_system = true;
  } else {
    scope.directory = dir_path(private_path);
    scope.view.base = state.idmap.base;
  }
  scope.user_namespace = VZ_TRY(user_namespace_of(state.init.pid));
  return scope;
}

Result<UniqueFd> open_quota_file_system(const QuotaScope& scope) {
  if (scope.image.empty()) return open_file(scope.directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  // The superblock that the container runs on, for as long as this is open.
  UniqueFd mount = VZ_TRY(new_mount("ext4", {{"source", scope.device}}, kLook));
  if (!loop_serves(scope.device, scope.image))
    return fail(Error::from_errno(ENODEV, scope.device + " does not serve " + scope.image + " any more"));
  return mount;
}

dev_t quota_device(const QuotaScope& scope) {
  const std::string& path = scope.image.empty() ? scope.directory : scope.device;
  auto fd = open_file(path, O_PATH | O_NOFOLLOW);
  if (!fd) return 0;
  auto device = scope.image.empty() ? device_of(fd->get()) : block_device_of(fd->get());
  return device ? *device : 0;
}

Result<> prepare_user_quota(const std::string& private_path, int root, bool on) {
  if (VZ_TRY(private_layout(private_path)) == Layout::image) return prepare_image(root, on);
  if (!on || VZ_TRY(user_quota_enforced(root))) return {};
  return fail(
      not_counted("user and group quotas are off on the file system of " + private_path)
          .with_hint("tune2fs -O quota -Q usrquota,grpquota on the unmounted file system, then mount it with -o "
                     "usrquota,grpquota; or use --layout image"));
}

Result<bool> kernel_answers_quota_calls(const std::string& private_path) {
  if (VZ_TRY(private_layout(private_path)) != Layout::dir) return false;
  return userns_quota_admin().value_or(false);
}

std::string quota_special(const std::string& private_path, const std::string& root_device) {
  std::string name = root_device;
  if (name.empty()) {
    auto dir = open_file(dir_path(private_path), O_PATH | O_DIRECTORY | O_NOFOLLOW);
    auto device = dir ? device_of(dir->get()) : Result<dev_t>(fail(dir.error()));
    auto mounts = read_file("/proc/self/mountinfo");
    if (device && mounts) name = source_of(*mounts, fmt::format("{}:{}", major(*device), minor(*device)));
  }
  return name.starts_with("/dev/") ? name : "";
}

Result<DeviceNode> quota_node(const std::string& special, int root) {
  dev_t device = VZ_TRY(device_of(root));
  return DeviceNode{special.substr(5), 'b', major(device), minor(device), 0, true};
}

}  // namespace vz

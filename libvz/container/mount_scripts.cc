// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/mount_scripts.h"

#include "libvz/container/scripts.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount_ns.h"

namespace vz {

Result<UniqueFd> run_mount_scripts(const Host& host, Ctid id, const Config& config, UniqueFd root, Reporter& reporter) {
  if (has_host_scripts(host, id, "premount")) {
    reporter.step("start.script.premount");
    VZ_TRY(run_host_scripts(host, id, "premount", reporter));
  }
  if (!has_host_scripts(host, id, "mount")) return root;
  auto path = host.root_path(id, config);
  VZ_TRY(make_dirs(path, 0755));
  reporter.step("start.script.mount");
  return with_private_mount(root, path, [&] { return run_host_scripts(host, id, "mount", reporter); });
}

}  // namespace vz

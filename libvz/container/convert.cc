// SPDX-License-Identifier: LGPL-2.1-or-later
// convert and compact: the disk of a container in another form.
#include <fmt/format.h>

#include "libvz/container/context.h"
#include "libvz/container/dump.h"
#include "libvz/container/image.h"
#include "libvz/container/lock.h"
#include "libvz/container/private_plan.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/snapshot_store.h"
#include "libvz/container/state.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/rename.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

std::uint64_t about_size(const std::string& private_path, Layout layout) {
  if (layout == Layout::dir) {
    auto used = dir_usage(private_path);
    return used ? used->bytes : 0;
  }
  auto image = open_file(image_path(private_path), O_RDONLY | O_NONBLOCK);
  return image ? allocated_bytes(image->get()).value_or(0) : 0;
}

Result<> record_layout(Context& ct, Layout layout) {
  const auto path = ct.host.config_path(ct.id);
  Config own = VZ_TRY(Config::load(path));
  if (own.get("VE_LAYOUT") == layout_name(layout)) return {};
  own.set("VE_LAYOUT", layout_name(layout));
  VZ_TRY(own.save(path));
  ct.reporter.info("CT configuration saved to " + path);
  return {};
}

Result<> copy_private(Context& ct, Layout from, Layout to) {
  const auto temporary = temporary_private(ct.private_path);
  PrivateSpec spec = VZ_TRY(plan_private(ct.config, to, temporary, "", true));
  spec.idmap = VZ_TRY(allocate_idmap(ct.host, ct.id));
  VZ_TRY(remove_private(temporary));
  ct.reporter.step("convert.mount");
  RootMount source = VZ_TRY(mount_private(ct.private_path, spec.idmap, "", false, true, ct.reporter));
  VZ_TRY(set_attrs(source.mount.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, false));
  spec.source = &source.mount;
  spec.source_bytes = about_size(ct.private_path, from);
  ct.reporter.info(fmt::format("Copying content to {}...", layout_name(to)));
  auto made = make_private(spec, ct.reporter);
  if (!made) (void)remove_private(temporary);
  return made;
}

Result<> check_convertible(Context& ct) {
  if (VZ_TRY(running_state(ct.host, ct.id)))
    return fail(Error(Code::running, "Container is running -- stop it first")
                    .with_hint(fmt::format("`vzctl stop {}`", ct.id.value())));
  if (exists(default_dump_path(ct.host, ct.id)))
    return fail(Error(Code::convert_image, "Container is suspended: its processes have files of this layout open")
                    .with_hint(fmt::format("`vzctl resume {}`, then stop it", ct.id.value())));
  if (is_mount_point(ct.root_path))
    return fail(Error(Code::mounted, fmt::format("Container is mounted at {}", ct.root_path))
                    .with_hint(fmt::format("`vzctl umount {}`", ct.id.value())));
  return refuse_snapshots(ct, "Cannot convert", Code::convert_image);
}

}  // namespace

Result<> Container::convert(const std::string& layout, Reporter& reporter) {
  const Layout to = VZ_TRY(parse_layout(layout));
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "converting"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  VZ_TRY(check_convertible(ct));
  VZ_TRY(clean_up(*host_, id_, reporter));
  const Layout from = VZ_TRY(private_layout(ct.private_path));
  if (from == to) {
    // Perhaps of a conversion that was killed after its last copy.
    VZ_TRY(remove_private(temporary_private(ct.private_path)));
    VZ_TRY(record_layout(ct, to));
    reporter.info(fmt::format("Container is already on layout {}", layout_name(to)));
    return {};
  }
  VZ_TRY(copy_private(ct, from, to));
  reporter.step("convert.exchange");
  VZ_TRY(exchange_durably(temporary_private(ct.private_path), ct.private_path));
  reporter.step("convert.config");
  VZ_TRY(record_layout(ct, to));
  reporter.step("convert.remove");
  VZ_TRY(remove_private(temporary_private(ct.private_path)));
  reporter.info(fmt::format("Container was successfully converted to layout {}", layout_name(to)));
  return {};
}

Result<> Container::compact(Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(*host_, id_, "compacting"));
  Context ct = VZ_TRY(load_context(*host_, id_, reporter));
  if (VZ_TRY(private_layout(ct.private_path)) == Layout::dir) {
    reporter.info("Container is on the dir layout, nothing to compact");
    return {};
  }
  auto state = VZ_TRY(running_state(*host_, id_));
  auto idmap = VZ_TRY(allocate_idmap(*host_, id_));
  auto freed = VZ_TRY(compact_private(ct.private_path, state ? state->root_device : "", idmap, reporter));
  reporter.info(fmt::format("Image was compacted: {} KiB given back", freed / 1024));
  return {};
}

}  // namespace vz

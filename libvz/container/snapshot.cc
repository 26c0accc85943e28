// SPDX-License-Identifier: LGPL-2.1-or-later
// Taking a snapshot: all that takes time is done while the container runs; then it is stopped where it is, its
// processes are saved, its file system is frozen, what has changed is copied, and it goes on. Only after that the
// snapshot begins to exist. The other way round, all that takes time is done before the container is touched.
#include <ctime>
#include <optional>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <vz/snapshot.h>

#include "libvz/base/text.h"
#include "libvz/container/checkpoint.h"
#include "libvz/container/context.h"
#include "libvz/container/image.h"
#include "libvz/container/image_copy.h"
#include "libvz/container/lock.h"
#include "libvz/container/migration_journal.h"
#include "libvz/container/rootfs.h"
#include "libvz/container/snapshot_store.h"
#include "libvz/container/state.h"
#include "libvz/container/value.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hostinfo.h"
#include "libvz/kernel/loopdev.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/mount_table.h"
#include "libvz/kernel/rename.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

Result<> check_layout(const Context& ct, Code code) {
  if (!private_exists(ct.private_path))
    return fail(Code::no_private, fmt::format("Container private area {} does not exist", ct.private_path));
  if (VZ_TRY(private_layout(ct.private_path)) == Layout::image) return {};
  return fail(Error(code, "snapshots need the image layout; this container is on a directory")
                  .with_hint(fmt::format("`vzctl backup {0}` works on it, or `vzctl convert {0} --layout image`",
                                         ct.id.value())));
}

Result<std::string> chosen_uuid(const std::string& wanted) { return wanted.empty() ? new_uuid() : parse_uuid(wanted); }

Result<> check_text(const char* what, const std::string& text) {
  constexpr std::size_t kLongest = 1024;
  if (text.size() <= kLongest && text.find_first_of("\n\r\t\"") == text.npos) return {};
  return fail(Code::bad_value, fmt::format("Bad value for {}: {} (one line of at most {} characters, no quotes)", what,
                                           printable(text), kLongest));
}

Result<Snapshot> known_snapshot(const SnapshotTree& tree, const std::string& text, Code code) {
  auto uuid = VZ_TRY(parse_uuid(text));
  if (const Snapshot* found = tree.find(uuid)) return *found;
  return fail(
      Error(code, fmt::format("there is no snapshot {{{}}}", uuid)).with_hint("`vzctl snapshot-list CTID` shows them"));
}

// What stands still for the moment of the snapshot: the processes, if they are to be in it, and the file system.
class Taking {
 public:
  Taking(Context& ct, std::string temporary) : ct_(ct), temporary_(std::move(temporary)) {}

  Result<> copy(bool with_memory);
  Result<> finish(bool with_config);

 private:
  Result<> copy_frozen(ImageCopy& copy);

  Context& ct_;
  std::string temporary_;
};

Result<> Taking::copy_frozen(ImageCopy& copy) {
  ct_.reporter.step("snapshot.freeze");
  auto frozen = VZ_TRY(freeze_image(image_path(ct_.private_path)));
  ct_.reporter.step("snapshot.copy");
  VZ_TRY(copy.finish(ct_.reporter));
  ct_.reporter.step("snapshot.thaw");
  return frozen ? frozen->thaw() : Result<>();
}

Result<> Taking::copy(bool with_memory) {
  ct_.reporter.step("snapshot.begin");
  VZ_TRY(remove_tree(temporary_));
  VZ_TRY(make_dirs(temporary_, 0700));
  auto copy = VZ_TRY(ImageCopy::begin(image_path(ct_.private_path), image_path(temporary_)));
  ct_.reporter.step("snapshot.prepare");
  // Of an image that nobody writes to, this is all already.
  VZ_TRY(copy.prepare(ct_.reporter));
  if (with_memory)
    VZ_TRY(while_suspended(ct_, snapshot_dump(temporary_), [&] { return copy_frozen(copy); }));
  else
    VZ_TRY(copy_frozen(copy));
  ct_.reporter.step("snapshot.sync");
  return copy.sync();
}

Result<> Taking::finish(bool with_config) {
  if (!with_config) return {};
  ct_.reporter.step("snapshot.config");
  auto text = VZ_TRY(read_file(ct_.host.config_path(ct_.id)));
  return replace_file(snapshot_config(temporary_), text, 0600);
}

Error as_create(Error error) {
  return error.code() == Code::system || error.code() == Code::io ? std::move(error).with_code(Code::create_snapshot)
                                                                  : std::move(error);
}

Result<> take(Context& ct, SnapshotTree& tree, Snapshot snapshot) {
  const auto path = snapshot_path(ct.private_path, snapshot.uuid), temporary = path + ".tmp";
  Taking taking(ct, temporary);
  auto taken = taking.copy(snapshot.memory);
  if (taken) taken = taking.finish(snapshot.config);
  if (taken && ct.reporter.cancelled()) taken = fail(Code::create_snapshot, "interrupted");
  if (!taken) {
    (void)remove_tree(temporary);
    if (taken.error().code() == Code::checkpoint)
      return fail(std::move(taken).error().with_hint("--skip-suspend takes the snapshot without the processes"));
    return fail(as_create(std::move(taken).error()));
  }
  ct.reporter.step("snapshot.rename");
  VZ_TRY(rename_durably(temporary, path));
  tree.add(std::move(snapshot));
  ct.reporter.step("snapshot.tree");
  return save_tree(ct.private_path, tree);
}

}  // namespace

Result<std::string> take_snapshot(const Host& host, Ctid id, const SnapshotOptions& options, Reporter& reporter) {
  VZ_TRY(check_text("--name", options.name));
  VZ_TRY(check_text("--description", options.description));
  Snapshot snapshot;
  snapshot.uuid = VZ_TRY(chosen_uuid(options.uuid));
  snapshot.name = options.name;
  snapshot.description = options.description;
  snapshot.created_at = std::time(nullptr);
  auto lock = VZ_TRY(CtLock::take(host, id, "taking a snapshot"));
  VZ_TRY(check_not_migrating(host, id));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  VZ_TRY(check_layout(ct, Code::create_snapshot));
  auto tree = VZ_TRY(load_tree(ct.private_path));
  if (tree.find(snapshot.uuid))
    return fail(Code::create_snapshot, fmt::format("snapshot {{{}}} exists already", snapshot.uuid));
  snapshot.config = !options.skip_config;
  snapshot.memory = VZ_TRY(running_state(host, id)).has_value() && !options.skip_suspend;
  reporter.info(fmt::format("Creating snapshot {{{}}}", snapshot.uuid));
  const auto uuid = snapshot.uuid;
  VZ_TRY(take(ct, tree, std::move(snapshot)));
  reporter.info(fmt::format("Snapshot {{{}}} has been successfully created", uuid));
  return uuid;
}

namespace {

Result<> end_container(Context& ct) {
  if (VZ_TRY(running_state(ct.host, ct.id))) {
    StopOptions fast;
    fast.fast = true;
    return stop_locked(ct, fast);
  }
  VZ_TRY(clean_up(ct.host, ct.id, ct.reporter));
  if (!is_mount_point(ct.root_path)) return {};
  ct.reporter.step("snapshot.switch.umount");
  return detach_path(ct.root_path);
}

Result<> resume(Context& ct, const std::string& dump_path) {
  Dump dump = VZ_TRY(open_dump(dump_path));
  // The files are those again that belong to it.
  VZ_TRY(write_token(ct.private_path, dump.manifest.token));
  RestoreOptions options;
  options.dump = dump_path;
  options.keep_dump = true;
  auto restored = restore_locked(ct, options);
  if (!restored) (void)remove_token(ct.private_path);
  return restored;
}

Result<> switch_disk(Context& ct, SnapshotTree& tree, const Snapshot& to, bool with_config) {
  const auto copy = switch_image(ct.private_path);
  ct.reporter.step("snapshot.switch.copy");
  VZ_TRY(remove_tree(copy));
  auto copied = copy_image(image_path(snapshot_path(ct.private_path, to.uuid)), copy, ct.reporter);
  if (copied && ct.reporter.cancelled()) copied = fail(Code::switch_snapshot, "interrupted");
  if (!copied) {
    (void)remove_tree(copy);
    return copied;
  }
  ct.reporter.step("snapshot.switch.stop");
  VZ_TRY(end_container(ct));
  tree.pending = {to.uuid, with_config};
  ct.reporter.step("snapshot.switch.commit");
  VZ_TRY(save_tree(ct.private_path, tree));
  return finish_switch(ct.host, ct.id, ct.private_path, tree, ct.reporter);
}

}  // namespace

Result<> switch_snapshot(const Host& host, Ctid id, const SwitchOptions& options, Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(host, id, "switching to a snapshot"));
  VZ_TRY(check_not_migrating(host, id));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  VZ_TRY(check_layout(ct, Code::switch_snapshot));
  auto tree = VZ_TRY(load_tree(ct.private_path));
  const Snapshot to = VZ_TRY(known_snapshot(tree, options.uuid, Code::switch_snapshot));
  if (options.must_resume && !to.memory)
    return fail(Error(Code::switch_snapshot, fmt::format("snapshot {{{}}} was taken without the processes", to.uuid))
                    .with_hint("without --must-resume, the container is stopped afterwards"));
  reporter.info(fmt::format("Switching to snapshot {{{}}}", to.uuid));
  if (auto done = switch_disk(ct, tree, to, to.config && !options.skip_config); !done)
    return fail(done.error().code() == Code::system ? std::move(done).error().with_code(Code::switch_snapshot)
                                                    : std::move(done).error());
  ct.config = VZ_TRY(host.load(id));
  if (to.memory && !options.skip_resume) {
    reporter.step("snapshot.switch.resume");
    auto resumed = resume(ct, snapshot_dump(snapshot_path(ct.private_path, to.uuid)));
    if (!resumed && options.must_resume) return resumed;
    if (!resumed)
      reporter.warn(
          fmt::format("Warning: its processes cannot be continued: {}; it is stopped, with the files of the "
                      "snapshot",
                      resumed.error().message()));
  }
  reporter.info("Container has been successfully switched to another snapshot");
  return {};
}

Result<> delete_snapshot(const Host& host, Ctid id, const std::string& uuid, Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(host, id, "deleting a snapshot"));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  auto tree = VZ_TRY(load_tree(ct.private_path));
  const Snapshot snapshot = VZ_TRY(known_snapshot(tree, uuid, Code::delete_snapshot));
  const auto path = snapshot_path(ct.private_path, snapshot.uuid);
  if (auto device = VZ_TRY(snapshot_device(path)); !device.empty())
    return fail(Error(Code::delete_snapshot, fmt::format("snapshot {{{}}} is mounted ({})", snapshot.uuid, device))
                    .with_hint(fmt::format("`vzctl snapshot-umount {} --id {}`", id.value(), snapshot.uuid)));
  reporter.info(fmt::format("Deleting snapshot {{{}}}", snapshot.uuid));
  tree.remove(snapshot.uuid);
  reporter.step("snapshot.delete.tree");
  VZ_TRY(save_tree(ct.private_path, tree));
  reporter.step("snapshot.delete.files");
  VZ_TRY(remove_tree(path));
  reporter.info(fmt::format("Snapshot {{{}}} has been successfully deleted", snapshot.uuid));
  return {};
}

Result<> mount_snapshot(const Host& host, Ctid id, const std::string& uuid, const std::string& target,
                        Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(host, id, "mounting a snapshot"));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  auto tree = VZ_TRY(load_tree(ct.private_path));
  const Snapshot snapshot = VZ_TRY(known_snapshot(tree, uuid, Code::mount_snapshot));
  const auto path = snapshot_path(ct.private_path, snapshot.uuid);
  if (!VZ_TRY(snapshot_device(path)).empty())
    return fail(Code::mount_snapshot, fmt::format("snapshot {{{}}} is mounted already", snapshot.uuid));
  reporter.step("snapshot.mount");
  auto root = mount_image_read_only(image_path(path));
  if (!root) return fail(std::move(root).error().with_code(Code::mount_snapshot));
  if (auto attached = attach_mount(root->mount.get(), AT_FDCWD, target); !attached)
    return fail(std::move(attached).error().context("mount at " + target).with_code(Code::mount_snapshot));
  reporter.info(fmt::format("Snapshot {{{}}} is mounted at {}", snapshot.uuid, target));
  return {};
}

namespace {

// Where a device is mounted as we see it.
Result<std::vector<std::string>> mount_points_of(const std::string& device) {
  std::vector<std::string> out;
  if (device.empty()) return out;
  for (const auto& mount : VZ_TRY(read_mounts(::getpid())))
    if (mount.source == device && mount.root == "/") out.push_back(mount.point);
  return out;
}

}  // namespace

Result<> umount_snapshot(const Host& host, Ctid id, const std::string& uuid, Reporter& reporter) {
  auto lock = VZ_TRY(CtLock::take(host, id, "unmounting a snapshot"));
  Context ct = VZ_TRY(load_context(host, id, reporter));
  auto tree = VZ_TRY(load_tree(ct.private_path));
  const Snapshot snapshot = VZ_TRY(known_snapshot(tree, uuid, Code::umount_snapshot));
  const auto device = VZ_TRY(snapshot_device(snapshot_path(ct.private_path, snapshot.uuid)));
  const auto points = VZ_TRY(mount_points_of(device));
  if (points.empty())
    return fail(Code::umount_snapshot, fmt::format("snapshot {{{}}} is not mounted here", snapshot.uuid));
  reporter.step("snapshot.umount");
  for (const auto& point : points) VZ_TRY(detach_path(point));
  reporter.info(fmt::format("Snapshot {{{}}} is unmounted", snapshot.uuid));
  return {};
}

Result<std::vector<SnapshotInfo>> list_snapshots(const Host& host, Ctid id) {
  Config config = VZ_TRY(host.load(id));
  const auto private_path = host.private_path(id, config);
  const auto tree = VZ_TRY(load_tree(private_path));
  std::vector<SnapshotInfo> out;
  for (const auto& s : tree.snapshots) {
    SnapshotInfo info{s.uuid, s.parent, s.name, s.description, s.created_at, s.memory, s.config, s.uuid == tree.current,
                      0,      "",       ""};
    const auto path = snapshot_path(private_path, s.uuid);
    if (auto fd = open_file(image_path(path), O_RDONLY | O_NONBLOCK))
      info.bytes = allocated_bytes(fd->get()).value_or(0);
    info.device = snapshot_device(path).value_or("");
    if (auto points = mount_points_of(info.device); points && !points->empty()) info.target = points->front();
    out.push_back(std::move(info));
  }
  return out;
}

}  // namespace vz

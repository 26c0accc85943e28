// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/snapshot_store.h"

#include <cerrno>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/container/context.h"
#include "libvz/container/dump.h"
#include "libvz/container/image.h"
#include "libvz/container/restored_config.h"
#include "libvz/kernel/ext4.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/loopdev.h"
#include "libvz/kernel/rename.h"

namespace vz {

namespace {

constexpr const char* kTree = "tree.json";
constexpr const char* kSwitchImage = "switch.img";

std::string store_path(const std::string& private_path) { return private_path + "/snapshots"; }

// The one setting whose truth is on the disk.
Result<> adopt_size(const Host& host, Ctid id, const std::string& image, Reporter& reporter) {
  UniqueFd fd = VZ_TRY(open_file(image, O_RDONLY));
  const auto kib = VZ_TRY_CTX(read_ext4_state(fd.get()), image).bytes >> 10;
  const auto path = host.config_path(id);
  Config own = VZ_TRY(Config::load(path));
  const Config merged = merged_config(host, own);
  auto space = merged.limit("DISKSPACE");
  if (space && space->limit == kib) return {};
  own.set("DISKSPACE", fmt::format("{0}:{0}", kib));
  reporter.info(fmt::format("DISKSPACE is {} KiB, as it was then", kib));
  return own.save(path);
}

Result<> remove_rubbish(const std::string& store, const SnapshotTree& tree) {
  for (const auto& name : VZ_TRY(list_dir(store)))
    if (name != kTree && !tree.find(name)) VZ_TRY(remove_tree(store + "/" + name));
  return {};
}

}  // namespace

std::string snapshot_path(const std::string& private_path, const std::string& uuid) {
  return store_path(private_path) + "/" + uuid;
}
std::string snapshot_dump(const std::string& snapshot) { return snapshot + "/dump"; }
std::string snapshot_config(const std::string& snapshot) { return snapshot + "/config"; }
std::string switch_image(const std::string& private_path) { return store_path(private_path) + "/" + kSwitchImage; }

Result<std::string> snapshot_device(const std::string& snapshot) {
  return find_loop(image_path(snapshot), /*read_only_too=*/true);
}

Result<SnapshotTree> load_tree(const std::string& private_path) {
  const auto path = store_path(private_path) + "/" + kTree;
  auto text = read_file(path);
  if (!text && text.error().sys_errno() == ENOENT) return SnapshotTree();
  if (!text) return fail(std::move(text).error().with_code(Code::list_snapshots));
  return parse_tree(*text, path);
}

Result<> save_tree(const std::string& private_path, const SnapshotTree& tree) {
  VZ_TRY(make_dirs(store_path(private_path), 0700));
  return replace_file(store_path(private_path) + "/" + kTree, tree_text(tree), 0600);
}

bool has_snapshots(const std::string& private_path) {
  auto tree = load_tree(private_path);
  return !tree || !tree->snapshots.empty();
}

Result<> finish_switch(const Host& host, Ctid id, const std::string& private_path, SnapshotTree& tree,
                       Reporter& reporter) {
  const auto snapshot = snapshot_path(private_path, tree.pending.uuid);
  const auto image = switch_image(private_path);
  reporter.step("snapshot.switch.token");
  // Of what the container was until now.
  VZ_TRY(remove_token(private_path));
  VZ_TRY(remove_dump(default_dump_path(host, id)));
  reporter.step("snapshot.switch.image");
  if (exists(image)) VZ_TRY(rename_durably(image, image_path(private_path)));
  reporter.step("snapshot.switch.config");
  if (tree.pending.config) {
    Config then = VZ_TRY(Config::load(snapshot_config(snapshot)));
    VZ_TRY(adopt_config(host, id, std::move(then), reporter));
  }
  VZ_TRY(adopt_size(host, id, image_path(private_path), reporter));
  tree.current = tree.pending.uuid;
  tree.pending = {};
  reporter.step("snapshot.switch.done");
  return save_tree(private_path, tree);
}

Result<bool> settle_snapshots(const Host& host, Ctid id, const std::string& private_path, Reporter& reporter) {
  const auto store = store_path(private_path);
  if (!exists(store)) return false;
  auto tree = load_tree(private_path);
  if (!tree) {
    // The container itself can do without it.
    reporter.warn("Warning: " + tree.error().message());
    return false;
  }
  const bool pending = !tree->pending.uuid.empty();
  if (pending) {
    reporter.warn("Warning: an earlier vzctl died while it switched to a snapshot; now it is finished");
    VZ_TRY(finish_switch(host, id, private_path, *tree, reporter));
  }
  VZ_TRY(remove_rubbish(store, *tree));
  return pending;
}

Result<> refuse_snapshots(const Context& ct, const std::string& what, Code code) {
  if (!has_snapshots(ct.private_path)) return {};
  return fail(Error(code, what + ": the container has snapshots, which would be lost")
                  .with_hint(fmt::format("`vzctl snapshot-list {0}`; `vzctl snapshot-delete {0} --id UUID` removes one",
                                         ct.id.value())));
}

Result<> refuse_mounted_snapshots(const std::string& private_path) {
  auto tree = load_tree(private_path);
  if (!tree) return {};
  for (const auto& s : tree->snapshots) {
    auto device = VZ_TRY(snapshot_device(snapshot_path(private_path, s.uuid)));
    if (!device.empty())
      return fail(Error(Code::mounted, fmt::format("Snapshot {{{}}} is mounted ({})", s.uuid, device))
                      .with_hint("vzctl snapshot-umount CTID --id UUID, in the mount namespace where it was mounted"));
  }
  return {};
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Snapshots on disk: PRIVATE/snapshots/UUID with root.img, config and dump, UUID.tmp while one is made, and tree.json,
// whose writing is the moment in which one comes or goes.
#pragma once

#include <string>

#include <vz/error.h>
#include "libvz/container/context.h"
#include "libvz/container/snapshot_tree.h"

namespace vz {

std::string snapshot_path(const std::string& private_path, const std::string& uuid);
std::string snapshot_dump(const std::string& snapshot);     // its processes
std::string snapshot_config(const std::string& snapshot);   // the text of ID.conf
std::string switch_image(const std::string& private_path);  // what becomes PRIVATE/root.img

// Where it is mounted from: /dev/loopN, "" when it is not.
Result<std::string> snapshot_device(const std::string& snapshot);

Result<SnapshotTree> load_tree(const std::string& private_path);  // empty when there is none
Result<> save_tree(const std::string& private_path, const SnapshotTree& tree);
bool has_snapshots(const std::string& private_path);

// After a vzctl that died: a switch that was begun is finished, a snapshot that was not finished is removed. The caller
// holds the container's lock. True when the configuration may be another now.
Result<bool> settle_snapshots(const Host& host, Ctid id, const std::string& private_path, Reporter& reporter);
// The second half of a switch, after save_tree() with `pending` set. May be repeated.
Result<> finish_switch(const Host& host, Ctid id, const std::string& private_path, SnapshotTree& tree,
                       Reporter& reporter);

// For what would lose them.
Result<> refuse_snapshots(const Context& ct, const std::string& what, Code code);
// Code::mounted when one of them is mounted somewhere.
Result<> refuse_mounted_snapshots(const std::string& private_path);

}  // namespace vz

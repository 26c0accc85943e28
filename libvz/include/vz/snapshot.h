// SPDX-License-Identifier: LGPL-2.1-or-later
// Snapshots of a container of the image layout: its disk, its configuration and, if it ran, its memory, as they were at
// one moment. Each is complete in itself: deleting one changes no other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <vz/ctid.h>
#include <vz/error.h>
#include <vz/host.h>
#include <vz/reporter.h>

namespace vz {

struct SnapshotInfo {
  std::string uuid;    // without braces
  std::string parent;  // the snapshot that the container was made from or had returned to before; "": none
  std::string name, description;
  std::int64_t created_at = 0;  // seconds since the epoch
  bool memory = false;          // its processes are in it
  bool config = false;          // its configuration is
  bool current = false;         // what the container has now goes back to this one
  std::uint64_t bytes = 0;      // that it takes on the disk; blocks shared with others are counted in each
  std::string device, target;   // while it is mounted in our mount namespace
};

struct SnapshotOptions {
  std::string uuid;  // with or without braces; empty: a random one
  std::string name, description;
  bool skip_suspend = false;  // without the processes
  bool skip_config = false;
};

struct SwitchOptions {
  std::string uuid;
  bool skip_resume = false;  // leave it stopped although the snapshot has its processes
  bool must_resume = false;  // fail, and change nothing, for a snapshot without them
  bool skip_config = false;
};

// Returns the UUID. The container may run: it is stopped where it is for a moment and goes on. Codes: create_snapshot,
// checkpoint (something inside cannot be saved), no_disk_space.
VZ_API Result<std::string> take_snapshot(const Host& host, Ctid id, const SnapshotOptions& options, Reporter& reporter);
// What the container has now is lost, and its processes end. Until the last moment nothing of it is touched.
VZ_API Result<> switch_snapshot(const Host& host, Ctid id, const SwitchOptions& options, Reporter& reporter);
VZ_API Result<> delete_snapshot(const Host& host, Ctid id, const std::string& uuid, Reporter& reporter);
// Read-only, at an existing directory.
VZ_API Result<> mount_snapshot(const Host& host, Ctid id, const std::string& uuid, const std::string& target,
                               Reporter& reporter);
VZ_API Result<> umount_snapshot(const Host& host, Ctid id, const std::string& uuid, Reporter& reporter);
// In the order in which they were taken.
VZ_API Result<std::vector<SnapshotInfo>> list_snapshots(const Host& host, Ctid id);

}  // namespace vz

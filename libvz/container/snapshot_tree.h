// SPDX-License-Identifier: LGPL-2.1-or-later
// PRIVATE/snapshots/tree.json: which snapshots there are, and which way the container is between two of them. What is
// in that directory and not in the tree is the rubbish of a vzctl that died. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <vz/error.h>

namespace vz {

struct Snapshot {
  std::string uuid, parent, name, description;
  std::int64_t created_at = 0;
  bool memory = false, config = false;
  bool operator==(const Snapshot&) const = default;
};

// Written before anything of the container is replaced: whoever comes after a death finishes it.
struct PendingSwitch {
  std::string uuid;  // empty: none
  bool config = false;
  bool operator==(const PendingSwitch&) const = default;
};

struct SnapshotTree {
  static constexpr int kVersion = 1;
  std::string current;  // of which the container is a continuation; "": none
  std::vector<Snapshot> snapshots;
  PendingSwitch pending;

  const Snapshot* find(const std::string& uuid) const;
  void add(Snapshot snapshot);  // becomes the current one
  // Those that came from it come from its parent now.
  void remove(const std::string& uuid);
  bool operator==(const SnapshotTree&) const = default;
};
std::string tree_text(const SnapshotTree& tree);
// Code::list_snapshots: no tree, of another version, or one that contradicts itself.
Result<SnapshotTree> parse_tree(const std::string& text, const std::string& path);

// 8-4-4-4-12 hexadecimal digits, braces around are taken off, lower case. Code::bad_value.
Result<std::string> parse_uuid(const std::string& text);

}  // namespace vz

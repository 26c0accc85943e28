// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/snapshot_tree.h"

#include <algorithm>
#include <set>
#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libvz/container/value.h"

namespace vz {

namespace {

using Json = nlohmann::json;

std::string checked_uuid(const std::string& text) {
  auto uuid = parse_uuid(text);
  if (!uuid || *uuid != text) throw std::out_of_range("uuid " + printable(text));
  return text;
}

Snapshot snapshot_of(const Json& j) {
  Snapshot s;
  s.uuid = checked_uuid(j.at("uuid"));
  s.parent = j.value("parent", "");
  s.name = j.value("name", "");
  s.description = j.value("description", "");
  s.created_at = j.at("created_at");
  s.memory = j.value("memory", false);
  s.config = j.value("config", false);
  return s;
}

SnapshotTree tree_of(const Json& j) {
  SnapshotTree tree;
  std::set<std::string> seen = {""};
  for (const auto& entry : j.at("snapshots")) {
    tree.snapshots.push_back(snapshot_of(entry));
    if (!seen.insert(tree.snapshots.back().uuid).second) throw std::out_of_range("a snapshot is there twice");
  }
  tree.current = j.value("current", "");
  if (auto pending = j.find("switching"); pending != j.end())
    tree.pending = {checked_uuid(pending->at("uuid")), pending->value("config", false)};
  for (const auto& uuid : {tree.current, tree.pending.uuid})
    if (!seen.contains(uuid)) throw std::out_of_range("no snapshot " + printable(uuid));
  // Older than its parent it may be, if the clock was set; unknown it may not.
  for (const auto& s : tree.snapshots)
    if (!seen.contains(s.parent)) throw std::out_of_range("no snapshot " + printable(s.parent));
  return tree;
}

}  // namespace

const Snapshot* SnapshotTree::find(const std::string& uuid) const {
  auto at = std::find_if(snapshots.begin(), snapshots.end(), [&](const Snapshot& s) { return s.uuid == uuid; });
  return at == snapshots.end() ? nullptr : &*at;
}

void SnapshotTree::add(Snapshot snapshot) {
  snapshot.parent = current;
  current = snapshot.uuid;
  snapshots.push_back(std::move(snapshot));
}

void SnapshotTree::remove(const std::string& uuid) {
  const Snapshot* found = find(uuid);
  if (!found) return;
  const std::string parent = found->parent;
  std::erase_if(snapshots, [&](const Snapshot& s) { return s.uuid == uuid; });
  for (auto& s : snapshots)
    if (s.parent == uuid) s.parent = parent;
  if (current == uuid) current = parent;
}

std::string tree_text(const SnapshotTree& tree) {
  Json list = Json::array();
  for (const auto& s : tree.snapshots)
    list.push_back({{"uuid", s.uuid},
                    {"parent", s.parent},
                    {"name", s.name},
                    {"description", s.description},
                    {"created_at", s.created_at},
                    {"memory", s.memory},
                    {"config", s.config}});
  Json j{{"version", SnapshotTree::kVersion}, {"current", tree.current}, {"snapshots", std::move(list)}};
  if (!tree.pending.uuid.empty()) j["switching"] = {{"uuid", tree.pending.uuid}, {"config", tree.pending.config}};
  return j.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<SnapshotTree> parse_tree(const std::string& text, const std::string& path) {
  auto bad = [&](const std::string& why) {
    return fail(Error(Code::list_snapshots, fmt::format("{} cannot be used: {}", path, why))
                    .with_hint("it was damaged, or written by a newer vz; the snapshots are in the directories beside "
                               "it"));
  };
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return bad("it is no JSON object");
  // Untyped access throws on everything that is not as it should be.
  try {
    if (int version = json.at("version"); version != SnapshotTree::kVersion)
      return bad(fmt::format("version {}, this vz knows {}", version, SnapshotTree::kVersion));
    return tree_of(json);
  } catch (const std::exception& e) {
    return bad(e.what());
  }
}

Result<std::string> parse_uuid(const std::string& text) {
  std::string uuid = text;
  if (uuid.size() == 38 && uuid.front() == '{' && uuid.back() == '}') uuid = uuid.substr(1, 36);
  bool good = uuid.size() == 36;
  for (std::size_t i = 0; good && i < uuid.size(); ++i) {
    char& c = uuid[i];
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    good = dash ? c == '-' : (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  }
  if (good) return uuid;
  return fail(Error(Code::bad_value, fmt::format("'{}' is no UUID", printable(text)))
                  .with_hint("as in {6d9f1c1e-58a1-4d0e-9a3c-0f2b6a7c8d9e}; vzctl snapshot-list shows them"));
}

}  // namespace vz

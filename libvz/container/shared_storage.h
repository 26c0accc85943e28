// SPDX-License-Identifier: LGPL-2.1-or-later
// Two hosts with the same private area, on storage that both have mounted: found out, not configured. The source leaves
// a file there whose name nobody can know before, and the destination looks for it.
#pragma once

#include <string>

#include <vz/error.h>

namespace vz {

// PRIVATE/migrating-SESSION while this lives. What an earlier one left, who was killed, is removed first.
class StorageMark {
 public:
  static Result<StorageMark> leave(const std::string& private_path, const std::string& session);
  StorageMark(StorageMark&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  StorageMark(const StorageMark&) = delete;
  StorageMark& operator=(const StorageMark&) = delete;
  StorageMark& operator=(StorageMark&&) = delete;
  ~StorageMark();

 private:
  explicit StorageMark(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Is the mark of this session in the private area that this host has at this path? `session` may be anything.
bool has_mark(const std::string& private_path, const std::string& session);

}  // namespace vz

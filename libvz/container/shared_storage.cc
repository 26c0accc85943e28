// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/shared_storage.h"

#include <algorithm>
#include <string_view>

#include "libvz/kernel/file.h"

namespace vz {
namespace {

constexpr std::string_view kMark = "migrating-";

std::string mark_path(const std::string& private_path, const std::string& session) {
  return private_path + "/" + std::string(kMark) + session;
}

}  // namespace

Result<StorageMark> StorageMark::leave(const std::string& private_path, const std::string& session) {
  for (const auto& name : VZ_TRY(list_dir(private_path)))
    if (name.starts_with(kMark)) VZ_TRY(remove_tree(private_path + "/" + name));
  StorageMark mark(mark_path(private_path, session));
  VZ_TRY(replace_file(mark.path_, "", 0600));
  return mark;
}

StorageMark::~StorageMark() {
  if (!path_.empty()) (void)remove_tree(path_);
}

bool has_mark(const std::string& private_path, const std::string& session) {
  const bool name = !session.empty() && std::all_of(session.begin(), session.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  return name && exists(mark_path(private_path, session));
}

}  // namespace vz

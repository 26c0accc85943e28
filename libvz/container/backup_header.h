// SPDX-License-Identifier: LGPL-2.1-or-later
// What a backup says about itself: its first part. Pure.
#pragma once

#include <cstdint>
#include <string>

#include <vz/ctid.h>
#include <vz/error.h>

namespace vz {

struct BackupHeader {
  static constexpr std::uint64_t kLargestImage = std::uint64_t{16} << 40;  // ext4's with blocks of 4 KiB and 32 bits

  std::string uuid, base;  // base empty: full
  Ctid id{0};
  std::string name;        // of the container
  std::string layout;      // "image", "dir"
  std::uint64_t size = 0;  // image: of the file system
  std::string host, vz;    // where it was made, and by what
  std::string description;
  bool by_owner = false;  // made from inside
  std::int64_t created_at = 0;
  std::uint32_t nanoseconds = 0;
  std::string config;  // the text of ID.conf
  bool operator==(const BackupHeader&) const = default;
};
std::string header_text(const BackupHeader& header);
// Code::bad_backup.
Result<BackupHeader> parse_header(const std::string& text, const std::string& path);

}  // namespace vz

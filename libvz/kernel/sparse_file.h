// SPDX-License-Identifier: LGPL-2.1-or-later
// Files with holes, read and written at offsets (lseek(2) SEEK_DATA, fallocate(2)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <vz/error.h>

namespace vz {

struct Extent {
  std::uint64_t begin = 0, end = 0;  // bytes, end exclusive
};

// The first data at or after `offset`; nullopt: a hole up to the end of the file. A file system without holes says that
// all is data.
Result<std::optional<Extent>> next_data(int fd, std::uint64_t offset);
Result<> write_at(int fd, std::uint64_t offset, std::string_view data);
// Zeroes that take no room. Nothing beyond the end of the file.
Result<> punch_hole(int fd, std::uint64_t offset, std::uint64_t length);
// FICLONE: `to` gets the contents of `from` at once and shares its blocks until one of them is written. False: this
// file system cannot.
Result<bool> clone_file(int from, int to);
// Bytes that the file takes on its disk.
Result<std::uint64_t> allocated_bytes(int fd);

}  // namespace vz

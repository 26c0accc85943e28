// SPDX-License-Identifier: LGPL-2.1-or-later
// What is in a chain of backups, put back into an image or a directory. Everything is compared on the way: each part
// with its checksum, and in the end each chunk of an image with what the last backup says it was.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <vz/error.h>
#include <vz/reporter.h>
#include "libvz/container/backup_store.h"
#include "libvz/container/image_scan.h"
#include "libvz/kernel/idmap.h"

namespace vz {

// Chunks as the frames of one chain make them.
class ImageReplay {
 public:
  // The image of this size comes now; what is beyond it goes.
  void begin(std::uint64_t size);
  // Code::bad_backup for what no image of that size has.
  Result<> block(std::uint64_t offset, std::string_view data);
  Result<> hole(std::uint64_t offset, std::uint64_t length);
  // All chunks are what the state of a backup says.
  Result<> check(const std::string& state) const;

 private:
  std::uint64_t size_ = 0;
  std::vector<ChunkHash> chunks_;
};

struct ImageTarget {
  int fd = -1;  // -1: only compare
};
struct TreeTarget {
  std::string dir;  // "": only compare
  IdMap idmap;
};
// `chain`: the full one first. The layout is the target's.
Result<> replay_image(const std::vector<std::string>& chain, const ImageTarget& target, Reporter& reporter);
Result<> replay_tree(const std::vector<std::string>& chain, const TreeTarget& target, Reporter& reporter);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// An image that changes while it is read: passes, of which each tells the chunks that differ from what was told last.
//
// Changes are found by hashing every chunk that is not a hole: no support of the kernel or of the layout below is
// needed, at the price of reading the image once per pass (from the page cache for what changed just now). Who knows
// where to look (BlockChanges) has only that read. XXH3 has 128
// bits; who could make two chunks with one hash is the container, which would damage its own image.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>
#include "libvz/kernel/sparse_file.h"

namespace vz {

constexpr std::uint64_t kImageChunk = 64 * 1024;

struct ChunkHash {
  std::uint64_t low = 0, high = 0;
  bool operator==(const ChunkHash&) const = default;
};
// Of zeroes, too, and of nothing at all: a hole.
ChunkHash hash_chunk(std::string_view data);

// 16 bytes for each, for files.
std::string encode_hashes(const std::vector<ChunkHash>& hashes);
Result<std::vector<ChunkHash>> decode_hashes(std::string_view text);

struct DeltaPass {
  std::uint64_t read = 0, sent = 0;  // bytes of the image
};

// Who is told. Offsets are multiples of kImageChunk.
struct ImageSink {
  std::function<Result<>(std::uint64_t offset, std::string_view data)> block;
  std::function<Result<>(std::uint64_t offset, std::uint64_t length)> hole;
};
// What a pass looks through, in ascending order; nullopt: everything.
using ImageParts = std::optional<std::vector<Extent>>;
// Bytes read, bytes of the file; false cancels (Code::io).
using ImageProgress = std::function<bool(std::uint64_t, std::uint64_t)>;

class ImageScan {
 public:
  // `fd` is borrowed; its size must stay the same. `known`: what was told before, by an earlier scan; empty: the other
  // has a file of holes.
  static Result<ImageScan> open(int fd, std::vector<ChunkHash> known = {});
  Result<DeltaPass> pass(const ImageSink& sink, const ImageProgress& progress, const ImageParts& parts = {});
  std::uint64_t size() const { return size_; }
  const std::vector<ChunkHash>& hashes() const { return told_; }

 private:
  ImageScan(int fd, std::uint64_t size, std::vector<ChunkHash> told) : fd_(fd), size_(size), told_(std::move(told)) {}
  Result<> tell_chunk(const ImageSink& sink, std::uint64_t index, DeltaPass& pass);
  Result<> tell_chunks(const ImageSink& sink, const ImageProgress& progress, Extent chunks, DeltaPass& pass);
  Result<> tell_hole(const ImageSink& sink, std::uint64_t index);

  int fd_;
  std::uint64_t size_;
  std::vector<ChunkHash> told_;  // 16 bytes per 64 KiB; all zero: a hole
};

}  // namespace vz

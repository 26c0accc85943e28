// SPDX-License-Identifier: LGPL-2.1-or-later
// An image that changes while it is copied: passes, of which each sends the chunks that differ from what was sent last.
//
// Changes are found by hashing every chunk that is not a hole: no support of the kernel or of the layout below is
// needed, at the price of reading the image once per pass (from the page cache for what changed just now). XXH3 has 128
// bits; who could make two chunks with one hash is the container, which would damage its own image.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <vz/error.h>
#include "libvz/kernel/frame_channel.h"

namespace vz {

struct DeltaPass {
  std::uint64_t read = 0, sent = 0;  // bytes of the image
};

class ImageSender {
 public:
  static constexpr std::uint64_t kChunk = 64 * 1024;

  // `fd` is borrowed; its size must stay the same.
  static Result<ImageSender> open(int fd);
  // Sends what is new, then kEnd. `progress`: bytes read, bytes of the file; false cancels (Code::io).
  Result<DeltaPass> send(FrameChannel& channel, const std::function<bool(std::uint64_t, std::uint64_t)>& progress);

 private:
  struct Hash {
    std::uint64_t low = 0, high = 0;
    bool operator==(const Hash&) const = default;
  };
  ImageSender(int fd, std::uint64_t size) : fd_(fd), size_(size), sent_((size + kChunk - 1) / kChunk) {}
  Result<> send_chunk(FrameChannel& channel, std::uint64_t index, DeltaPass& pass);
  Result<> send_hole(FrameChannel& channel, std::uint64_t index);

  int fd_;
  std::uint64_t size_;
  std::vector<Hash> sent_;  // 16 bytes per 64 KiB; all zero: a hole, as the other end's new file is
};

// The other end: until kEnd. Blocks outside of `size` are refused.
Result<std::uint64_t> receive_image(FrameChannel& channel, int fd, std::uint64_t size);

}  // namespace vz

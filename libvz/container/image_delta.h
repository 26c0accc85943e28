// SPDX-License-Identifier: LGPL-2.1-or-later
// Passes of an image scan as frames to another host.
#pragma once

#include <cstdint>
#include <utility>

#include <vz/error.h>
#include "libvz/container/image_scan.h"
#include "libvz/kernel/frame_channel.h"

namespace vz {

class ImageSender {
 public:
  static constexpr std::uint64_t kChunk = kImageChunk;

  // `fd` is borrowed; its size must stay the same.
  static Result<ImageSender> open(int fd);
  // Sends what is new, then kEnd.
  Result<DeltaPass> send(FrameChannel& channel, const ImageProgress& progress);

 private:
  explicit ImageSender(ImageScan scan) : scan_(std::move(scan)) {}

  ImageScan scan_;
};

// The other end: until kEnd. Blocks outside of `size` are refused.
Result<std::uint64_t> receive_image(FrameChannel& channel, int fd, std::uint64_t size);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Passes of an image scan as frames to another host.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include <vz/error.h>
#include "libvz/container/image_scan.h"
#include "libvz/kernel/frame_channel.h"

namespace vz {

using FrameSink = std::function<Result<>(std::uint8_t type, std::string_view head, std::string_view data)>;

class ImageSender {
 public:
  static constexpr std::uint64_t kChunk = kImageChunk;

  // `fd` is borrowed; its size must stay the same.
  static Result<ImageSender> open(int fd);
  // What is new.
  Result<DeltaPass> send(const FrameSink& frames, const ImageProgress& progress);

 private:
  explicit ImageSender(ImageScan scan) : scan_(std::move(scan)) {}

  ImageScan scan_;
};

// The other end: until kEnd. Blocks outside of `size` are refused.
Result<std::uint64_t> receive_image(FrameChannel& channel, int fd, std::uint64_t size);

}  // namespace vz

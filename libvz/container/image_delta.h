// SPDX-License-Identifier: LGPL-2.1-or-later
// Passes of an image scan as frames to another host.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <vz/error.h>
#include "libvz/container/image_scan.h"
#include "libvz/kernel/block_changes.h"
#include "libvz/kernel/frame_channel.h"

namespace vz {

using FrameSink = std::function<Result<>(std::uint8_t type, std::string_view head, std::string_view data)>;

class ImageSender {
 public:
  static constexpr std::uint64_t kChunk = kImageChunk;

  // `fd` is borrowed; its size must stay the same.
  static Result<ImageSender> open(int fd);
  // The loop device through which all writes to the image go: passes after the first look only at what was written.
  // Code::unsupported: they look at everything, as without it.
  Result<> watch(const std::string& device);
  // What the next pass has to look at. `quiet`: nobody writes any more, so whether a write was missed can be told, and
  // has to be.
  ImageParts next_parts(bool quiet);
  // What is new in there.
  Result<DeltaPass> send(const FrameSink& frames, const ImageProgress& progress, const ImageParts& parts);

 private:
  explicit ImageSender(ImageScan scan) : scan_(std::move(scan)) {}

  ImageScan scan_;
  std::optional<BlockChanges> changes_;
  bool known_ = false;  // all of the image as it was when the last parts were told
};

// The other end: until kEnd. Blocks outside of `size` are refused.
Result<std::uint64_t> receive_image(FrameChannel& channel, int fd, std::uint64_t size);

}  // namespace vz

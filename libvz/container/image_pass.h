// SPDX-License-Identifier: LGPL-2.1-or-later
// A pass over an image on its way to another host. It may begin while the channel is still somebody else's.
#pragma once

#include <cstdint>
#include <future>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>
#include <vz/migrate.h>
#include "libvz/container/image_delta.h"
#include "libvz/kernel/frame_channel.h"

namespace vz {

class PassOutbox {
 public:
  // The channel is free when `free` says true; false: it never will be (Code::io). Without one it is free now.
  explicit PassOutbox(FrameChannel& channel, std::future<bool> free = {}) : channel_(channel), free_(std::move(free)) {}
  // Keeps a few MiB; what is more waits for the channel. The request comes before the first frame.
  Result<> send(std::uint8_t type, std::string_view head, std::string_view data);
  // Everything, then the end of the pass; the answer comes when the other end has written it.
  Result<> finish();

 private:
  Result<> open();

  FrameChannel& channel_;
  std::future<bool> free_;
  bool asked_ = false;
  std::vector<Frame> kept_;
  std::size_t kept_bytes_ = 0;
};

Result<MigratePass> send_image_pass(PassOutbox& outbox, ImageSender& sender, const ImageProgress& progress,
                                    const ImageParts& parts);

}  // namespace vz

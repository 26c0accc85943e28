// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/image_delta.h"

#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "libvz/base/byte_order.h"
#include "libvz/container/migration_message.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

constexpr int kLooks = 25;
constexpr auto kLook = std::chrono::microseconds(200);

Result<> check_range(const Frame& frame, std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  if (length <= size && offset <= size - length) return {};
  return fail(Code::bad_value, fmt::format("a block of {} bytes at {} is outside of the image of {} bytes (frame {})",
                                           length, offset, size, frame.type));
}

}  // namespace

Result<ImageSender> ImageSender::open(int fd) { return ImageSender(VZ_TRY(ImageScan::open(fd))); }

Result<> ImageSender::watch(const std::string& device) {
  changes_.emplace(VZ_TRY(BlockChanges::watch(device, scan_.size())));
  return {};
}

ImageParts ImageSender::next_parts(bool quiet) {
  if (!changes_) return std::nullopt;
  bool complete = !quiet || changes_->complete();
  // The device may still be busy with an inode's last words: a journal's superblock, say.
  for (int i = 0; !complete && i < kLooks; ++i) {
    std::this_thread::sleep_for(kLook);
    complete = changes_->complete();
  }
  auto parts = changes_->take();
  if (!known_ || !complete) return std::nullopt;
  return parts;
}

Result<DeltaPass> ImageSender::send(const FrameSink& frames, const ImageProgress& progress, const ImageParts& parts) {
  const ImageSink sink{
      [&](std::uint64_t offset, std::string_view data) { return frames(kBlock, little_endian(offset), data); },
      [&](std::uint64_t offset, std::uint64_t length) {
        return frames(kHole, little_endian(offset), little_endian(length));
      }};
  known_ = false;  // what was taken is not there when this fails
  auto pass = VZ_TRY(scan_.pass(sink, progress, parts));
  known_ = true;
  return pass;
}

Result<std::uint64_t> receive_image(FrameChannel& channel, int fd, std::uint64_t size) {
  std::uint64_t received = 0;
  for (;;) {
    Frame frame = VZ_TRY(channel.receive());
    if (frame.type == kEnd) return received;
    if (frame.type == kBlock && frame.payload.size() > 8) {
      const std::uint64_t offset = from_little_endian(frame.payload);
      const auto data = std::string_view(frame.payload).substr(8);
      VZ_TRY(check_range(frame, offset, data.size(), size));
      VZ_TRY_CTX(write_at(fd, offset, data), "the image");
      received += data.size();
    } else if (frame.type == kHole && frame.payload.size() == 16) {
      const std::uint64_t offset = from_little_endian(frame.payload);
      const std::uint64_t length = from_little_endian(std::string_view(frame.payload).substr(8));
      VZ_TRY(check_range(frame, offset, length, size));
      VZ_TRY_CTX(punch_hole(fd, offset, length), "the image");
    } else {
      return fail(Code::bad_value, fmt::format("{} sends a frame of type {} among blocks", channel.peer(), frame.type));
    }
  }
}

}  // namespace vz

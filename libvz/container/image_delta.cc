// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/image_delta.h"

#include <algorithm>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libvz/base/byte_order.h"
#include "libvz/container/migration_message.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

namespace {

Result<> check_range(const Frame& frame, std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  if (length <= size && offset <= size - length) return {};
  return fail(Code::bad_value, fmt::format("a block of {} bytes at {} is outside of the image of {} bytes (frame {})",
                                           length, offset, size, frame.type));
}

}  // namespace

Result<ImageSender> ImageSender::open(int fd) { return ImageSender(fd, VZ_TRY(file_size(fd))); }

Result<> ImageSender::send_hole(FrameChannel& channel, std::uint64_t index) {
  if (sent_[index] == Hash{}) return {};
  sent_[index] = {};
  const std::uint64_t offset = index * kChunk;
  return channel.send(kHole, little_endian(offset), little_endian(std::min(kChunk, size_ - offset)));
}

Result<> ImageSender::send_chunk(FrameChannel& channel, std::uint64_t index, DeltaPass& pass) {
  const std::uint64_t offset = index * kChunk;
  const auto want = static_cast<std::size_t>(std::min(kChunk, size_ - offset));
  auto data = VZ_TRY(read_at(fd_, offset, want));
  if (data.size() != want) return fail(Code::io, fmt::format("the image ends at {} while it is copied", offset));
  pass.read += want;
  const XXH128_hash_t hash = XXH3_128bits(data.data(), data.size());
  const Hash now{hash.low64, hash.high64};
  if (sent_[index] == now) return {};
  VZ_TRY(channel.send(kBlock, little_endian(offset), data));
  sent_[index] = now;
  pass.sent += want;
  return {};
}

Result<DeltaPass> ImageSender::send(FrameChannel& channel,
                                    const std::function<bool(std::uint64_t, std::uint64_t)>& progress) {
  DeltaPass pass;
  std::uint64_t index = 0;
  while (index < sent_.size()) {
    auto extent = VZ_TRY(next_data(fd_, index * kChunk));
    const std::uint64_t begin = extent ? extent->begin / kChunk : sent_.size();
    for (; index < begin; ++index) VZ_TRY(send_hole(channel, index));
    const std::uint64_t end =
        extent ? std::min<std::uint64_t>((extent->end + kChunk - 1) / kChunk, sent_.size()) : index;
    for (; index < end; ++index) {
      VZ_TRY(send_chunk(channel, index, pass));
      if (!progress(index * kChunk, size_)) return fail(Code::io, "interrupted");
    }
  }
  VZ_TRY(channel.send(kEnd, ""));
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

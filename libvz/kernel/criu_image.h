// SPDX-License-Identifier: LGPL-2.1-or-later
// What CRIU's images have in common: two numbers that say what it is, then messages, each after its size.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/base/byte_order.h"

namespace vz {

std::string image_head(std::uint32_t magic);
// Takes the head off the front; false when it is another image's.
bool take_image_head(std::string_view& image, std::uint32_t magic);

// In a directory of images that may have been a container's: no link is followed.
Result<std::string> read_image(int images, const std::string& name, std::size_t longest);
// `flags`: O_TRUNC or O_APPEND.
Result<> write_image(int images, const std::string& name, int flags, std::string_view bytes);

// Takes the next message off the front.
template <class Message>
bool take_message(std::string_view& image, std::size_t longest, Message* message) {
  if (image.size() < 4) return false;
  const std::size_t size = from_little_endian32(image);
  if (size > longest || size > image.size() - 4) return false;
  // Partial: the other form writes to standard error when a field is missing.
  if (!message->ParsePartialFromArray(image.data() + 4, static_cast<int>(size)) || !message->IsInitialized())
    return false;
  image.remove_prefix(4 + size);
  return true;
}

template <class Message>
void put_message(std::string& image, const Message& message) {
  std::string bytes;
  (void)message.SerializeToString(&bytes);
  image += little_endian32(static_cast<std::uint32_t>(bytes.size())) + bytes;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/criu_image.h"

#include <fcntl.h>

#include "libvz/base/fd.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {
constexpr std::uint32_t kCommonMagic = 0x54564319;
}

std::string image_head(std::uint32_t magic) { return little_endian32(kCommonMagic) + little_endian32(magic); }

bool take_image_head(std::string_view& image, std::uint32_t magic) {
  const auto head = image_head(magic);
  if (!image.starts_with(head)) return false;
  image.remove_prefix(head.size());
  return true;
}

Result<std::string> read_image(int images, const std::string& name, std::size_t longest) {
  UniqueFd fd = VZ_TRY(open_at(images, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  return read_fd(fd.get(), longest);
}

Result<> write_image(int images, const std::string& name, int flags, std::string_view bytes) {
  UniqueFd fd = VZ_TRY(open_at(images, name, O_WRONLY | O_NOFOLLOW | flags));
  return write_all(fd.get(), bytes);
}

}  // namespace vz

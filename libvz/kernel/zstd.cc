// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/zstd.h"

#include <zstd.h>

namespace vz {

std::string zstd_compress(std::string_view plain, int level) {
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  const std::size_t n = ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), level);
  if (ZSTD_isError(n) || n >= plain.size()) return {};
  out.resize(n);
  return out;
}

std::optional<std::string> zstd_decompress(std::string_view stored, std::size_t most) {
  const auto size = ZSTD_getFrameContentSize(stored.data(), stored.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > most) return std::nullopt;
  std::string out(static_cast<std::size_t>(size), '\0');
  const std::size_t n = ZSTD_decompress(out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(n) || n != out.size()) return std::nullopt;
  return out;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// zstd frames (RFC 8878) of what fits into memory, by libzstd.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace vz {

// Empty when it does not become smaller. `level`: 1 (fast) to 19.
std::string zstd_compress(std::string_view plain, int level);

// nullopt: not one whole frame that says how long it becomes, or one that becomes longer than `most` bytes. What is
// compressed may come from anywhere.
std::optional<std::string> zstd_decompress(std::string_view stored, std::size_t most);

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/base/stream_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace vz {

struct StreamHash::State {
  XXH3_state_t xxh3;
};

StreamHash::StreamHash() : state_(std::make_unique<State>()) { (void)XXH3_64bits_reset(&state_->xxh3); }
StreamHash::~StreamHash() = default;
StreamHash::StreamHash(StreamHash&&) noexcept = default;
StreamHash& StreamHash::operator=(StreamHash&&) noexcept = default;

void StreamHash::add(std::string_view piece) { (void)XXH3_64bits_update(&state_->xxh3, piece.data(), piece.size()); }

std::uint64_t StreamHash::value() const { return XXH3_64bits_digest(&state_->xxh3); }

}  // namespace vz

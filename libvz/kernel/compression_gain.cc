// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/compression_gain.h"

#include <cmath>

namespace vz {

namespace {

constexpr double kMiB = 1 << 20;
constexpr double kHalfLife = 4 * kMiB;
constexpr double kBetweenTrials = 16 * kMiB;
constexpr std::size_t kShort = 16 << 10;
// Bytes per nanosecond: no processor compresses as fast as this, so that a fast wire is not slowed by trials, either.
constexpr double kFastWire = 0.8;

}  // namespace

void CompressionGain::Sums::add(double b, double o, double t) {
  const double keep = std::exp2(-b / kHalfLife);
  bytes = bytes * keep + b;
  other = other * keep + o;
  ns = ns * keep + t;
}

void CompressionGain::wrote(std::size_t bytes, std::uint64_t ns) {
  if (bytes < kShort) return;
  const auto size = static_cast<double>(bytes);
  wire_.add(size, 0, static_cast<double>(ns));
  since_trial_ += size;
}

void CompressionGain::compressed(std::size_t from, std::size_t to, std::uint64_t ns) {
  work_.add(static_cast<double>(from), static_cast<double>(to), static_cast<double>(ns));
  since_trial_ = 0;
}

bool CompressionGain::worth_trying() {
  // Until a buffer or two are full nothing is known of the wire behind them.
  if (wire_.bytes < kMiB || wire_.bytes > kFastWire * wire_.ns) return false;
  if (work_.bytes == 0 || since_trial_ > kBetweenTrials) return true;
  const double per_byte_on_wire = wire_.ns / wire_.bytes;
  return (work_.ns + work_.other * per_byte_on_wire) / work_.bytes < per_byte_on_wire;
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Frames over a pair of byte streams: what two vzctl on different hosts say to each other, through ssh or anything else
// that carries bytes. Both ends are root's, but the bytes came over a wire: lengths are bounded, types are checked by
// who receives.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/compression_gain.h"

namespace vz {

struct Frame {
  std::uint8_t type = 0;
  std::string payload;
};

class FrameChannel {
 public:
  static constexpr std::size_t kMaxPayload = (1u << 20) + 64;

  // Where the other end is, for errors: "host b".
  FrameChannel(UniqueFd in, UniqueFd out, std::string peer)
      : in_(std::move(in)), out_(std::move(out)), peer_(std::move(peer)) {}

  // `head` and `data` are one payload. Code::connect when the other end is gone.
  Result<> send(std::uint8_t type, std::string_view head, std::string_view data = {});
  // Code::connect at the end of the stream or in the middle of a frame; Code::bad_value for what is no frame.
  Result<Frame> receive();
  // Whether anything of the other end's is to be received, or its end, within the time.
  bool has_more(std::chrono::milliseconds patience) const;

  // Of what is sent from now on. nullopt, as it is at first: where that was seen to be faster.
  void set_compression(std::optional<bool> compress) { compress_ = compress; }
  // Bytes per second at most, from now on; 0: as fast as it goes. send() sleeps; a signal ends that.
  void set_rate(std::uint64_t bytes_per_second) { rate_ = bytes_per_second; }

  const std::string& peer() const { return peer_; }
  std::uint64_t sent() const { return sent_; }            // bytes, with headers
  std::uint64_t carried() const { return carried_; }      // the same before compression
  std::uint64_t waited_ns() const { return waited_ns_; }  // for the rate

 private:
  std::string compressed(std::string_view head, std::string_view data);
  void keep_to_rate(std::size_t size);

  UniqueFd in_, out_;
  std::string peer_;
  std::optional<bool> compress_;
  CompressionGain gain_;
  std::uint64_t rate_ = 0, free_at_ns_ = 0;
  std::uint64_t sent_ = 0, carried_ = 0, waited_ns_ = 0;
};

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// XXH3, 64 bits, of what comes in pieces: finds damage, not malice.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace vz {

class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(StreamHash&&) noexcept;
  StreamHash& operator=(StreamHash&&) noexcept;
  void add(std::string_view piece);
  std::uint64_t value() const;  // of all so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vz

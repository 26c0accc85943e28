// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether what goes over a wire is sooner on the other side when it is compressed before: by what both were seen to
// take.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vz {

class CompressionGain {
 public:
  // Writing `bytes` to the wire took so long. Short writes are left out: they fit into a buffer.
  void wrote(std::size_t bytes, std::uint64_t ns);
  // `from` bytes became `to` (not fewer: `from`).
  void compressed(std::size_t from, std::size_t to, std::uint64_t ns);
  // Is the next frame to be compressed: because that is faster, or to see now and then whether it were.
  bool worth_trying();

 private:
  // Sums of the last few MiB: older ones fade.
  struct Sums {
    double bytes = 0, other = 0, ns = 0;
    void add(double b, double o, double t);
  };
  Sums wire_, work_;
  double since_trial_ = 0;  // bytes
};

}  // namespace vz

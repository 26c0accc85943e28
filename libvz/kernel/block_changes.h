// SPDX-License-Identifier: LGPL-2.1-or-later
// Which parts of a block device were written: a BPF program on the tracepoint block_rq_complete marks them, so that who
// copies the device need not read all of it again. No BTF and no module is needed.
//
// The kernel may leave out a run of the program (one that interrupts another BPF program on the same CPU). So it also
// counts the sectors that it saw, and the device's own count, of /sys/block/*/stat, must say the same.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/sparse_file.h"

namespace vz {

class BlockChanges {
 public:
  // `device`: /dev/NAME, a whole disk; `size` in bytes. Writes that end from now on are seen, until this is destroyed.
  // Code::unsupported: the kernel cannot, or nobody counts the device's sectors.
  static Result<BlockChanges> watch(const std::string& device, std::uint64_t size);
  // What was written since the last call, in ascending order, or a little more; what is read after this call is as new
  // as that. nullopt: anything may have been.
  std::optional<std::vector<Extent>> take();
  // Has nothing been missed? Of a device that nobody writes to: false, too, while a write ends.
  bool complete() const;

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(std::uint64_t* words) const;
  };

  BlockChanges() = default;
  Result<> create_map();
  Result<> attach(std::uint64_t device_number);
  std::uint64_t seen() const;

  std::string device_;
  std::uint64_t size_ = 0;
  int shift_ = 0;  // a mark is for 1 << shift_ sectors
  std::uint32_t marks_ = 0;
  UniqueFd map_, program_, event_;
  std::unique_ptr<std::uint64_t[], Unmap> words_{nullptr, Unmap{0}};
  std::uint64_t lead_ = 0;  // what the device has counted before we did
};

// Where the fields of the tracepoint's record are, as its `format` file in tracefs says.
struct BlockEventLayout {
  int device = 0, sector = 0, sectors = 0, operation = 0;  // bytes from the record's beginning
};
Result<BlockEventLayout> parse_block_event(std::string_view format);

}  // namespace vz

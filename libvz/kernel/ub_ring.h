// SPDX-License-Identifier: LGPL-2.1-or-later
// A subscription to what bpf/ub_events.h tells: a ring buffer of our own, in a slot of the map of ring buffers.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <vz/error.h>
#include "bpf/vz_maps.h"
#include "libvz/base/fd.h"

namespace vz {

class UbRing {
 public:
  // `locks`: a directory, made when it is missing. Who holds the lock of a slot has the slot: one whose holder died is
  // taken over. Code::unsupported: the programs are not loaded; Code::no_resources: VZ_UB_SUBSCRIBERS are there.
  static Result<UbRing> subscribe(const std::string& locks, const std::string& pins = VZ_BPF_PIN_DIR);
  UbRing(UbRing&& other) noexcept;
  UbRing& operator=(UbRing&&) = delete;
  ~UbRing();

  int fd() const { return ring_.get(); }  // readable when there is something
  std::vector<vz_ub_event> drain();

 private:
  UbRing() = default;
  Result<> map();
  Result<> take_slot(const std::string& locks, const UniqueFd& slots);

  UniqueFd ring_, slots_, lock_;
  unsigned slot_ = VZ_UB_SUBSCRIBERS;
  void* consumer_ = nullptr;  // one page: how far we are
  void* producer_ = nullptr;  // one page: how far the kernel is; then the data, twice, so that none wraps around
};

}  // namespace vz

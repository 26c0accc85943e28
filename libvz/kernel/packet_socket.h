// SPDX-License-Identifier: LGPL-2.1-or-later
// Whole frames of one device, packet(7).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/netlink.h"

struct sock_filter;

namespace vz {

class PacketSocket {
 public:
  // A device of the caller's namespace. It receives nothing until listen().
  static Result<PacketSocket> open(const std::string& link);

  // nullopt: no Ethernet.
  Result<std::optional<MacAddress>> mac() const;
  Result<> send(std::string_view frame) const;

  // From now on frames that the classic BPF program `filter` accepts are kept, up to `bytes` of them, segmentation
  // offload described by a header before each (struct virtio_net_hdr); send() wants one, too.
  Result<> listen(const sock_filter* filter, std::size_t length, std::uint32_t bytes);
  // The oldest frame that is kept; nullopt: none. Never waits.
  Result<std::optional<std::string>> receive() const;
  Result<> with_offload_header();

 private:
  PacketSocket(UniqueFd fd, std::string link, int index) : fd_(std::move(fd)), link_(std::move(link)), index_(index) {}
  Result<> bind_to(std::uint16_t protocol) const;
  UniqueFd fd_;
  std::string link_;
  int index_ = 0;
};

}  // namespace vz

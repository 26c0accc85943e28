// SPDX-License-Identifier: LGPL-2.1-or-later
// Traffic of containers by class of the peer's network: counted where packets cross between the host and a container,
// on the host ends of its network devices (tcx, Linux 6.6). Nothing that the container does inside is counted, nothing
// that leaves it escapes: sockets, packet sockets, forwarded packets and the kernel's own answers alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <vz/error.h>
#include "bpf/vz_maps.h"
#include "libvz/base/fd.h"

namespace vz {

// A network and its class, 0 to 15. The longest prefix that matches decides.
struct ClassedNetwork {
  bool v6 = false;
  std::uint8_t address[16] = {};
  unsigned prefix = 0;
  unsigned traffic_class = 0;
  bool operator==(const ClassedNetwork&) const = default;
};

// The maps that all containers share. They live as long as they are pinned or a program uses them.
class TrafficMaps {
 public:
  // Code::unsupported when there are none: no container of this boot had a network device.
  static Result<TrafficMaps> open(const std::string& dir = VZ_NET_PIN_DIR);
  // The same, made when missing (`classes` then says what is counted where) and pinned when there is a BPF file system.
  static Result<TrafficMaps> make(const std::vector<ClassedNetwork>& classes, const std::string& dir = VZ_NET_PIN_DIR);
  // Not pinned, not found by open(): for tests.
  static Result<TrafficMaps> make_private(const std::vector<ClassedNetwork>& classes);

  // Which maps these are: another number means that the counts began at zero.
  std::uint32_t id() const { return id_; }
  // Counts on this device of the caller's network namespace from now on; once per device. Code::unsupported before
  // Linux 6.6. An entry that is there goes on.
  Result<> attach(const std::string& link, std::uint32_t ctid) const;
  Result<std::optional<vz_net>> read(std::uint32_t ctid) const;  // nullopt: never counted
  Result<std::vector<std::pair<std::uint32_t, vz_net>>> read_all() const;
  Result<> forget(std::uint32_t ctid) const;  // missing is fine
  // All at once: a packet is classified by the old networks or by the new ones.
  Result<> set_classes(const std::vector<ClassedNetwork>& classes) const;

  int counts_fd() const { return counts_.get(); }
  int classes_fd() const { return classes_.get(); }

 private:
  TrafficMaps(UniqueFd counts, UniqueFd classes, std::uint32_t id)
      : counts_(std::move(counts)), classes_(std::move(classes)), id_(id) {}
  static Result<TrafficMaps> from(UniqueFd counts, UniqueFd classes);
  UniqueFd counts_, classes_;
  std::uint32_t id_ = 0;
};

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <vz/error.h>

namespace vz {

// One thing that this host can or cannot do. Asked by name, never by kernel version.
struct Feature {
  const char* name;  // stable: "cgroup.memory", "cgroup.swap", "bpf.cgroup_device", "loop", …
  bool present;
  std::string detail;       // "v1 at /sys/fs/cgroup/memory", "ext4 at /var/lib/vz"
  const char* consequence;  // what does not work without it
  std::string remedy;       // what the admin can do
};

class VZ_API Features {
 public:
  bool has(std::string_view name) const;  // unknown names are false
  const std::vector<Feature>& all() const { return all_; }
  void add(Feature f) { all_.push_back(std::move(f)); }

 private:
  std::vector<Feature> all_;
};

}  // namespace vz

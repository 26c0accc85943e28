// SPDX-License-Identifier: LGPL-2.1-or-later
// The groups that a container has made for itself below P/ct/ns of cgroup2: systemd's slices and services. CRIU makes
// only those again that hold processes, and with its own ids.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

#include <vz/error.h>
#include "libvz/kernel/cgroup.h"
#include "libvz/kernel/idmap.h"

namespace vz {

struct InnerGroup {
  std::string path;                                             // below ns, "system.slice/ssh.service"; "" is ns itself
  uid_t uid = 0;                                                // inside
  std::vector<std::pair<std::string, std::string>> files;       // what can be set, and is not as in a new group
  std::vector<std::pair<std::string, std::string>> attributes;  // extended, "user.delegate"
  bool operator==(const InnerGroup&) const = default;
};
// Parents before children. At most 10000: more a container cannot have.
Result<std::vector<InnerGroup>> read_inner_groups(const Cgroups& cgroups, IdMap idmap);
// In new groups of the same container; nothing is set in them. A group that hands controllers on takes no process, not
// even for the moment in which CRIU makes a namespace of control groups there.
Result<> make_inner_groups(const Cgroups& cgroups, IdMap idmap, const std::vector<InnerGroup>& groups);
// When init is in its own one. What this kernel does not take is left as it is by default.
Result<> set_inner_groups(const Cgroups& cgroups, IdMap idmap, const std::vector<InnerGroup>& groups);

}  // namespace vz

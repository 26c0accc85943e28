// SPDX-License-Identifier: LGPL-2.1-or-later
// Files of a container that the host writes: hostname, hosts, resolv.conf.
//
// They are reached through a fresh mount of the container's root (never through the mount namespace of a running
// container, where it could have mounted anything), below which every name is resolved by Tree, and written with
// the file system identity of the container's root, so that a mistake here has no more power than the container.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <vz/error.h>
#include "libvz/base/fd.h"
#include "libvz/kernel/idmap.h"

namespace vz {

struct GuestSettings {
  std::optional<std::string> hostname;
  std::vector<std::string> nameservers;
  std::vector<std::string> searchdomains;
  bool write_resolv = false;  // nameservers or searchdomains are configured
};

// /etc/hosts with the container's own name on 127.0.1.1, everything else untouched. Pure.
std::string edit_hosts(const std::string& text, const std::string& hostname);
// The text of resolv.conf. Pure.
std::string format_resolv(const std::vector<std::string>& nameservers, const std::vector<std::string>& searchdomains);
// nameserver and search entries of a resolv.conf text, for `--nameserver inherit`. Pure.
void parse_resolv(const std::string& text, std::vector<std::string>* nameservers, std::vector<std::string>* domains);

// `root_mount`: the detached, idmapped mount. Missing /etc is Code::bad_template.
Result<> write_guest_files(const UniqueFd& root_mount, IdMap idmap, const GuestSettings& settings);

}  // namespace vz

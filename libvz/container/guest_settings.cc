// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/guest_settings.h"

#include "libvz/kernel/file.h"

namespace vz {

GuestSettings guest_settings(const Config& config) {
  GuestSettings out;
  if (auto h = config.get("HOSTNAME"); h && !h->empty()) out.hostname = *h;
  out.nameservers = config.words("NAMESERVER");
  out.searchdomains = config.words("SEARCHDOMAIN");
  const std::vector<std::string> inherit{"inherit"};
  if (out.nameservers == inherit || out.searchdomains == inherit) {
    std::vector<std::string> ns, dom;
    parse_resolv(read_file("/etc/resolv.conf").value_or(""), &ns, &dom);
    if (out.nameservers == inherit) out.nameservers = ns;
    if (out.searchdomains == inherit) out.searchdomains = dom;
  }
  out.write_resolv = !out.nameservers.empty() || !out.searchdomains.empty();
  return out;
}

}  // namespace vz

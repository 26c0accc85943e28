// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/hostinfo.h"

#include <sys/utsname.h>

namespace vz {

Result<HostIdentity> host_identity() {
  utsname uts{};
  if (::uname(&uts) != 0) return fail_errno("uname");
  return HostIdentity{uts.nodename, uts.release, uts.machine};
}

}  // namespace vz

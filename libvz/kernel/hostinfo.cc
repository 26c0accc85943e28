// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/hostinfo.h"

#include <sys/utsname.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

Result<HostIdentity> host_identity() {
  utsname uts{};
  if (::uname(&uts) != 0) return fail_errno("uname");
  return HostIdentity{uts.nodename, uts.release, uts.machine};
}

Result<std::string> new_uuid() { return std::string(trim(VZ_TRY(read_file("/proc/sys/kernel/random/uuid")))); }

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/fsid.h"

#include <sys/fsuid.h>

namespace vz {

// The gid first: changing the uid away from 0 drops CAP_FOWNER and friends, setfsgid itself needs CAP_SETGID, which
// stays.
FsIdentity::FsIdentity(uid_t uid, gid_t gid)
    : old_uid_(static_cast<uid_t>(setfsuid(static_cast<uid_t>(-1)))),
      old_gid_(static_cast<gid_t>(setfsgid(static_cast<gid_t>(-1)))) {
  setfsgid(gid);
  setfsuid(uid);
}

FsIdentity::~FsIdentity() {
  setfsuid(old_uid_);
  setfsgid(old_gid_);
}

}  // namespace vz

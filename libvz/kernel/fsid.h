// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

namespace vz {

// Gives the calling thread another file system identity (setfsuid(2)) for its lifetime. On an idmapped mount only
// ids inside the mapping may create files; and with a non-zero fsuid the kernel drops the file system capabilities.
class FsIdentity {
 public:
  FsIdentity(uid_t uid, gid_t gid);
  ~FsIdentity();
  FsIdentity(const FsIdentity&) = delete;
  FsIdentity& operator=(const FsIdentity&) = delete;

 private:
  uid_t old_uid_;
  gid_t old_gid_;
};

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/memfd.h"

#include <sys/mman.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {

Result<UniqueFd> text_fd(std::string_view text) {
  UniqueFd fd(memfd_create("vz-input", MFD_CLOEXEC));
  if (!fd) return fail_errno("memfd_create");
  VZ_TRY(write_all(fd.get(), text));
  if (lseek(fd.get(), 0, SEEK_SET) != 0) return fail_errno("lseek");
  return fd;
}

}  // namespace vz

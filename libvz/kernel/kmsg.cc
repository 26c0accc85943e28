// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/kmsg.h"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "libvz/kernel/file.h"

namespace vz {

Result<KernelLog> KernelLog::open() {
  UniqueFd fd = VZ_TRY(open_file("/dev/kmsg", O_RDONLY | O_NONBLOCK));
  if (::lseek(fd.get(), 0, SEEK_END) < 0) return fail_errno("read /dev/kmsg from its end");
  return KernelLog(std::move(fd));
}

std::vector<std::string> KernelLog::read() {
  constexpr int kAtOnce = 256;  // a flood must not keep us here
  std::vector<std::string> out;
  char record[8192];
  for (int n = 0; n < kAtOnce; ++n) {
    ssize_t size = ::read(fd_.get(), record, sizeof record);
    // EPIPE: the buffer was overwritten before we came, the next read goes on behind the gap. EINVAL: longer than ours.
    if (size < 0 && (errno == EPIPE || errno == EINTR || errno == EINVAL)) continue;
    if (size <= 0) break;
    out.emplace_back(record, static_cast<std::size_t>(size));
  }
  return out;
}

}  // namespace vz

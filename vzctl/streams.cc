// SPDX-License-Identifier: GPL-2.0-or-later
#include "vzctl/streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace vzctl {

// Opened the wrong way round, so that lost output is still an error.
void occupy_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

}  // namespace vzctl

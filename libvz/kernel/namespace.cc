// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/namespace.h"

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/kernel/file.h"

namespace vz {

Result<UniqueFd> open_namespace(pid_t pid, const char* name) {
  return open_file(fmt::format("/proc/{}/ns/{}", pid, name), O_RDONLY);
}

Result<std::string> namespace_id(pid_t pid, const char* name) {
  return read_link(fmt::format("/proc/{}/ns/{}", pid, name));
}

Result<UniqueFd> open_own_namespace(const char* name) {
  return open_file(fmt::format("/proc/thread-self/ns/{}", name), O_RDONLY);
}

}  // namespace vz

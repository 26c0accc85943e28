// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/mounted_on.h"

#include <algorithm>
#include <cstdint>

#include <fcntl.h>
#include <sys/stat.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

// "36 35 98:0 /root /point options… [optional…] - type source super-options", see proc_pid_mountinfo(5).
MountedOn find_mount(const std::string& mountinfo, std::uint64_t id) {
  for (const auto& line : split(mountinfo, '\n')) {
    auto words = split_blank(line);
    if (words.size() < 9 || parse_u64(words[0]).value_or(0) != id) continue;
    auto dash = std::find(words.begin() + 6, words.end(), "-");
    if (words.end() - dash < 3) continue;
    return {dash[1], unescape_octal(dash[2]), unescape_octal(words[4])};
  }
  return {};
}

Result<MountedOn> mounted_on(int fd) {
  struct statx sx = {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) != 0) return fail_errno("statx");
  auto found = find_mount(VZ_TRY(read_file("/proc/self/mountinfo")), sx.stx_mnt_id);
  if (found.type.empty()) return fail(Code::system, "the mount is not in /proc/self/mountinfo");
  return found;
}

}  // namespace vz

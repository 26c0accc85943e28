// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/mount_table.h"

#include <algorithm>

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

namespace vz {

std::vector<MountEntry> parse_mounts(std::string_view mountinfo) {
  std::vector<MountEntry> out;
  for (const auto& line : split(mountinfo, '\n')) {
    auto words = split_blank(line);
    auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    auto id = parse_u64(words[0]), parent = parse_u64(words[1]);
    if (!id || !parent) continue;
    MountEntry entry{*id,
                     *parent,
                     words[2],
                     unescape_octal(words[3]),
                     unescape_octal(words[4]),
                     words[5],
                     dash[1],
                     unescape_octal(dash[2]),
                     dash[3]};
    out.push_back(std::move(entry));
  }
  return out;
}

Result<std::vector<MountEntry>> read_mounts(pid_t pid) {
  return parse_mounts(VZ_TRY(read_file(fmt::format("/proc/{}/mountinfo", pid))));
}

std::string device_of(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return {};
  return fmt::format("{}:{}", major(st.st_dev), minor(st.st_dev));
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Files that vz puts into the OS templates it builds. Pure.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace vz {

struct TemplateFile {
  std::string path;  // below the root, no leading slash
  std::string text;
  mode_t mode = 0644;
  std::string link;  // target of a symlink instead of a file
};

// `systemd`: major version of the one in the release; older ones do not know all settings.
std::vector<TemplateFile> debian_template_files(unsigned systemd);
std::vector<TemplateFile> busybox_template_files();

}  // namespace vz

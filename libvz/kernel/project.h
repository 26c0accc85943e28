// SPDX-License-Identifier: LGPL-2.1-or-later
// Project ids of inodes: what a project quota counts by. A directory with `inherit` gives its id to what is made in it,
// and refuses (EXDEV) links and renames of what has another one.
#pragma once

#include <cstdint>

#include <vz/error.h>

namespace vz {

struct Project {
  std::uint32_t id = 0;
  bool inherit = false;
  bool operator==(const Project&) const = default;
};

// Of a directory or regular file; not O_PATH. Code::unsupported where the file system has none.
Result<Project> project_of(int fd);
// Without an effect when it has it already. An immutable file stays immutable.
Result<> set_project(int fd, Project project);

}  // namespace vz

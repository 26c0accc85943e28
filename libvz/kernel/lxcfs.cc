// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/lxcfs.h"

#include <string>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "libvz/kernel/file.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

namespace vz {

std::vector<BindFile> lxcfs_files() {
  std::vector<BindFile> out;
  auto top = open_file("/var/lib/lxcfs", O_PATH | O_DIRECTORY);
  if (!top) return out;
  struct statfs fs {};
  if (fstatfs(top->get(), &fs) != 0 || fs.f_type != FUSE_SUPER_MAGIC) return out;
  for (const char* name : {"cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime"}) {
    std::string path = std::string("proc/") + name;
    if (auto fd = open_at(top->get(), path, O_PATH)) out.push_back({*std::move(fd), "/" + path});
  }
  return out;
}

}  // namespace vz

// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/pins.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace vzbpf {

namespace {

tl::unexpected<std::string> failed(const std::string& what) {
  return tl::unexpected(fmt::format("{}: {}", what, strerror(errno)));
}

bool on_bpffs(const std::string& path) {
  struct statfs fs;
  return ::statfs(path.c_str(), &fs) == 0 && static_cast<unsigned long>(fs.f_type) == BPF_FS_MAGIC;
}

std::string parent_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// The mount point: it stays while directories below it come and go.
Result<std::string> bpffs_of(std::string path) {
  while (path != "/" && ::access(path.c_str(), F_OK) != 0) path = parent_of(path);
  if (!on_bpffs(path))
    return tl::unexpected(fmt::format(
        "{} is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf (systemd does), or give --pin-dir", path));
  while (path != "/" && on_bpffs(parent_of(path))) path = parent_of(path);
  return path;
}

Result<> make_dirs(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) return {};
  if (auto parent = make_dirs(parent_of(path)); !parent) return parent;
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return failed("make " + path);
  return {};
}

}  // namespace

Result<Pins> Pins::lock(const std::string& dir, bool make) {
  if (dir.empty() || dir[0] != '/') return tl::unexpected(fmt::format("{}: not an absolute path", dir));
  auto root = bpffs_of(dir);
  if (!root) return tl::unexpected(root.error());
  int fd = ::open(root->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failed("open " + *root);
  Pins pins(dir, fd);
  while (::flock(fd, LOCK_EX) != 0)
    if (errno != EINTR) return failed("lock " + *root);
  if (make)
    if (auto made = make_dirs(dir); !made) return tl::unexpected(made.error());
  return pins;
}

Pins::Pins(Pins&& other) noexcept : dir_(std::move(other.dir_)), lock_(std::exchange(other.lock_, -1)) {}

Pins::~Pins() {
  if (lock_ >= 0) (void)::close(lock_);
}

std::vector<std::string> Pins::names(const std::string& prefix) const {
  std::vector<std::string> out;
  DIR* stream = ::opendir(dir_.c_str());
  if (!stream) return out;
  while (const dirent* entry = ::readdir(stream)) {
    std::string name = entry->d_name;
    if (name != "." && name != ".." && name.compare(0, prefix.size(), prefix) == 0) out.push_back(name);
  }
  (void)::closedir(stream);
  std::sort(out.begin(), out.end());
  return out;
}

bool Pins::has(const std::string& name) const { return ::access(path(name).c_str(), F_OK) == 0; }

Result<> Pins::rename(const std::string& from, const std::string& to) const {
  if (::rename(path(from).c_str(), path(to).c_str()) != 0) return failed("rename " + path(from));
  return {};
}

Result<> Pins::remove(const std::string& name) const {
  if (::unlink(path(name).c_str()) != 0 && errno != ENOENT) return failed("remove " + path(name));
  return {};
}

Result<> Pins::remove_all() const {
  for (const char* prefix : {"link_", "new_", ""})
    for (const auto& name : names(prefix))
      if (auto removed = remove(name); !removed) return removed;
  if (::rmdir(dir_.c_str()) != 0 && errno != ENOENT) return failed("remove " + dir_);
  // "vz" of /sys/fs/bpf/vz/1, unless another layout is there; never what was no directory of ours.
  if (parent_of(dir_).ends_with("/vz")) (void)::rmdir(parent_of(dir_).c_str());
  return {};
}

}  // namespace vzbpf

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/cgroup_inner.h"

#include <algorithm>
#include <cctype>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "libvz/base/text.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr std::size_t kMaxGroups = 10000;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxValue = 4096;
constexpr const char* kOwnGroup = ".vz";  // where vzctl exec puts its processes

struct Setting {
  const char* file;
  std::string_view fresh;  // in a new group
};
// In the order in which they are written; controllers are handed on before the children are made.
constexpr const char* kType = "cgroup.type";
constexpr Setting kSettings[] = {{kType, "domain"},
                                 {"cgroup.max.depth", "max"},
                                 {"cgroup.max.descendants", "max"},
                                 {"cpuset.cpus", ""},
                                 {"cpuset.mems", ""},
                                 {"cpu.weight", "100"},
                                 {"cpu.max", "max 100000"},
                                 {"cpu.idle", "0"},
                                 {"memory.min", "0"},
                                 {"memory.low", "0"},
                                 {"memory.high", "max"},
                                 {"memory.max", "max"},
                                 {"memory.swap.max", "max"},
                                 {"memory.oom.group", "0"},
                                 {"pids.max", "max"},
                                 {"io.weight", "default 100"},
                                 {"cgroup.subtree_control", ""}};

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return std::isprint(static_cast<unsigned char>(c)) || c == '\n'; });
}

std::vector<std::pair<std::string, std::string>> settings_of(int fd) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& setting : kSettings) {
    auto text = read_file_at(fd, setting.file, kMaxValue);
    if (!text || trim(*text) == setting.fresh) continue;
    // "domain threaded" comes by itself, of a threaded child
    if (setting.file == std::string_view(kType) && trim(*text) != "threaded") continue;
    out.emplace_back(setting.file, trim(*text));
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> attributes_of(int fd) {
  std::vector<std::pair<std::string, std::string>> out;
  char names[kMaxValue], value[kMaxValue];
  ssize_t size = ::flistxattr(fd, names, sizeof names);
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::string_view(names + at).size()) + 1) {
    std::string name = names + at;
    if (name.rfind("user.", 0) != 0) continue;
    ssize_t length = ::fgetxattr(fd, name.c_str(), value, sizeof value);
    std::string_view text(value, length > 0 ? static_cast<std::size_t>(length) : 0);
    if (length >= 0 && printable(name) && printable(text)) out.emplace_back(name, text);
  }
  return out;
}

Result<> walk(int fd, const std::string& path, std::size_t depth, IdMap idmap, std::vector<InnerGroup>& out) {
  if (out.size() >= kMaxGroups || depth > kMaxDepth)
    return fail(Code::checkpoint, "the container has more control groups than it may have");
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail_errno("look at cgroup " + path);
  bool mapped = st.st_uid >= idmap.base && st.st_uid - idmap.base < idmap.count;
  out.push_back({path, mapped ? st.st_uid - idmap.base : 0, settings_of(fd), attributes_of(fd)});
  for (const auto& name : VZ_TRY(list_dir_at(fd, "."))) {
    if (depth == 0 && name == kOwnGroup) continue;
    auto child = open_group(fd, name);
    if (!child) continue;  // a file, or gone
    VZ_TRY(walk(child->get(), path.empty() ? name : path + "/" + name, depth + 1, idmap, out));
  }
  return {};
}

bool safe_path(const std::string& path) {
  for (const auto& name : split(path, '/'))
    if (name.empty() || name == "." || name == "..") return false;
  return true;
}

// The group and its files belong to whom they belonged to: the kernel looks at both.
void give(int fd, uid_t uid) {
  (void)::fchown(fd, uid, uid);
  auto names = list_dir_at(fd, ".");
  if (!names) return;
  for (const auto& name : *names) {
    struct stat st {};
    if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
      (void)::fchownat(fd, name.c_str(), uid, uid, AT_SYMLINK_NOFOLLOW);
  }
}

void set_group(int fd, const InnerGroup& group) {
  for (const auto& [file, value] : group.files) {
    if (file != "cgroup.subtree_control") {
      (void)write_kernel_file_at(fd, file, value);
      continue;
    }
    for (const auto& controller : split_blank(value)) (void)write_kernel_file_at(fd, file, "+" + controller);
  }
  for (const auto& [name, value] : group.attributes) (void)::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0);
}

}  // namespace

Result<std::vector<InnerGroup>> read_inner_groups(const Cgroups& cgroups, IdMap idmap) {
  std::vector<InnerGroup> out;
  if (cgroups.init_fd() < 0) return out;
  VZ_TRY(walk(cgroups.init_fd(), "", 0, idmap, out));
  return out;
}

Result<> make_inner_groups(const Cgroups& cgroups, IdMap idmap, const std::vector<InnerGroup>& groups) {
  if (cgroups.init_fd() < 0) return {};
  for (const auto& group : groups) {
    if (group.path.empty()) continue;
    if (!safe_path(group.path) || group.uid >= idmap.count)
      return fail(Code::restore, "control group '" + group.path + "' is none that a container can have");
    if (::mkdirat(cgroups.init_fd(), group.path.c_str(), 0755) != 0 && errno != EEXIST)
      return fail_errno("make control group " + group.path, Code::restore);
    UniqueFd fd = VZ_TRY(open_group(cgroups.init_fd(), group.path));
    give(fd.get(), idmap.base + group.uid);
    for (const auto& [file, value] : group.files)
      if (file == kType) (void)write_kernel_file_at(fd.get(), file, value);
  }
  return {};
}

Result<> set_inner_groups(const Cgroups& cgroups, IdMap idmap, const std::vector<InnerGroup>& groups) {
  if (cgroups.init_fd() < 0) return {};
  for (const auto& group : groups) {
    if (group.path.empty()) {
      set_group(cgroups.init_fd(), group);
      continue;
    }
    UniqueFd fd = VZ_TRY(open_group(cgroups.init_fd(), group.path));
    // The files of controllers that came with its parent's.
    give(fd.get(), idmap.base + group.uid);
    set_group(fd.get(), group);
  }
  return {};
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// Mounts that the host has put into a container: CRIU is told that they are external, and where to find them again.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include <fcntl.h>

#include "libvz/container/checkpoint.h"
#include "libvz/container/owner_dir.h"
#include "libvz/kernel/device_node.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"
#include "libvz/kernel/mount_table.h"

namespace vz {

namespace {

constexpr std::string_view kNode = "node/", kBind = "bind", kVzfs = "vzfs/", kOwner = "owner";

std::set<std::string> node_names(const Access& access) {
  std::set<std::string> out = {"null"};
  for (const auto& node : access.nodes) out.insert(device_file_name(node.name));
  return out;
}

// One of the host's device nodes. A tmpfs of the container's own tells its owner among the options.
std::string node_of(const MountEntry& mount, const std::set<std::string>& known) {
  if (mount.type != "tmpfs" || mount.root.size() < 2 || mount.super_options.find("uid=") != std::string::npos)
    return {};
  std::string name = mount.root.substr(1);
  // Added while the container ran: a file system of its own for each.
  if (name == "node" && mount.point.rfind("/dev/", 0) == 0) name = device_file_name(mount.point.substr(5));
  return known.contains(name) ? name : std::string();
}

// RUN/ID/owner as mountinfo tells of it.
struct OwnerDir {
  std::string device, end;
  bool is(const MountEntry& mount) const { return mount.device == device && mount.root.ends_with(end); }
};

std::string source_of(const MountEntry& mount, const std::set<std::string>& nodes, const OwnerDir& owner) {
  if (owner.is(mount)) return std::string(kOwner);
  if (auto node = node_of(mount, nodes); !node.empty()) return std::string(kNode) + node;
  if (mount.type == "fuse.lxcfs") return std::string(kBind) + mount.root;
  if (mount.type == "vzfs" && mount.root.size() > 1) return std::string(kVzfs) + mount.root.substr(1);
  return {};
}

// "mnt[POINT]:SOURCE"; neither may hold what ends the other.
std::string source_in(const std::string& external) {
  auto end = external.rfind("]:");
  return external.rfind("mnt[", 0) == 0 && end != external.npos ? external.substr(end + 2) : std::string();
}

Result<std::string> make_mount_point(const std::string& path, bool directory) {
  if (directory) {
    VZ_TRY(make_dirs(path, 0711));
  } else {
    VZ_TRY(open_file(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  }
  return path;
}

Result<UniqueFd> detached(UniqueFd source) {
  auto clone = clone_mount(source.get(), "", false);
  return clone ? std::move(clone) : Result<UniqueFd>(std::move(source));
}

// Where a source of the dump is to be found by this CRIU.
class Sources {
 public:
  Sources(const std::string& work_dir, const StartPlan& plan, ShownFiles shown, CriuPlace* place)
      : work_dir_(work_dir), plan_(plan), shown_(std::move(shown)), place_(place) {}

  Result<std::string> find(const std::string& source) {
    if (source.rfind(kNode, 0) == 0) return node(source.substr(kNode.size()));
    if (source.rfind(kVzfs, 0) == 0) return vzfs(source.substr(kVzfs.size()));
    if (source.rfind(kBind, 0) == 0) return bind(source.substr(kBind.size()));
    if (source == kOwner && shown_.owner_dir) return owner();
    return missing(source);
  }

 private:
  Result<std::string> missing(const std::string& source) {
    return fail(Error(Code::restore, fmt::format("the container used {}, which cannot be given to it now", source))
                    .with_hint("devices: see DEVNODES; files of /proc: load vz.ko or start lxcfs as it was then"));
  }
  Result<std::string> node(const std::string& name) {
    if (!node_names(plan_.access).contains(name)) return missing("device node " + name);
    const std::string dir = work_dir_ + "/dev";
    if (!std::exchange(nodes_made_, true)) {
      auto devices = plan_.access.nodes;
      if (std::none_of(devices.begin(), devices.end(), [](const DeviceNode& d) { return d.name == "null"; }))
        devices.push_back({"null", 'c', 1, 3, 0666});
      auto tmpfs = VZ_TRY(make_device_tmpfs(devices, plan_.idmap));
      auto point = VZ_TRY(make_mount_point(dir, true));
      place_->mounts.emplace_back(std::move(tmpfs), point);
    }
    return dir + "/" + name;
  }
  Result<std::string> vzfs(const std::string& name) {
    const std::string dir = work_dir_ + "/vzfs";
    if (shown_.vzfs.mount) {
      auto point = VZ_TRY(make_mount_point(dir, true));
      place_->mounts.emplace_back(std::move(shown_.vzfs.mount), point);
    }
    auto has = [&](const ProcFiles::File& f) { return f.source == name; };
    if (std::none_of(shown_.vzfs.files.begin(), shown_.vzfs.files.end(), has))
      return missing("/proc/" + name + " of vz.ko");
    return dir + "/" + name;
  }
  Result<std::string> owner() {
    auto point = VZ_TRY(make_mount_point(work_dir_ + "/owner", true));
    place_->mounts.emplace_back(std::move(shown_.owner_dir), point);
    return point;
  }
  Result<std::string> bind(const std::string& target) {
    auto it =
        std::find_if(shown_.binds.begin(), shown_.binds.end(), [&](const BindFile& b) { return b.target == target; });
    if (it == shown_.binds.end()) return missing(target + " of lxcfs");
    std::string path = work_dir_ + "/bind" + std::to_string(it - shown_.binds.begin());
    if (it->source) {
      auto point = VZ_TRY(make_mount_point(path, false));
      auto mount = VZ_TRY(detached(std::move(it->source)));
      place_->mounts.emplace_back(std::move(mount), point);
    }
    return path;
  }

  const std::string& work_dir_;
  const StartPlan& plan_;
  ShownFiles shown_;
  CriuPlace* place_;
  bool nodes_made_ = false;
};

}  // namespace

Result<std::vector<std::string>> external_mounts(const Host& host, Ctid id, pid_t init, const Access& access) {
  const auto nodes = node_names(access);
  const OwnerDir owner{device_of(owner_dir(host, id)), "/" + id.str() + "/owner"};
  std::vector<std::string> out;
  for (const auto& mount : VZ_TRY(read_mounts(init)))
    if (auto source = source_of(mount, nodes, owner); !source.empty())
      out.push_back(fmt::format("mnt[{}]:{}", mount.point, source));
  return out;
}

bool uses_owner_dir(const std::vector<std::string>& external) {
  return std::any_of(external.begin(), external.end(), [](const auto& e) { return source_in(e) == kOwner; });
}

Result<std::vector<std::string>> place_mounts(const std::vector<std::string>& dumped, const std::string& work_dir,
                                              const StartPlan& plan, ShownFiles shown, CriuPlace* place) {
  Sources sources(work_dir, plan, std::move(shown), place);
  std::set<std::string> seen;
  std::vector<std::string> out;
  for (const auto& external : dumped) {
    const std::string source = source_in(external);
    if (!seen.insert(source).second) continue;
    out.push_back(fmt::format("mnt[{}]:{}", source, VZ_TRY(sources.find(source))));
  }
  return out;
}

std::vector<std::string> hierarchy_names(const CgroupHost& host) {
  std::set<std::string> out;
  for (const auto& mount : host.controllers) out.insert((mount.v2 ? "v2:" : "v1:") + mount.path);
  if (!host.unified.empty()) out.insert("v2:" + host.unified);
  return {out.begin(), out.end()};
}

}  // namespace vz

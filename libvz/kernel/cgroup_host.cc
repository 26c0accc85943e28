// SPDX-License-Identifier: LGPL-2.1-or-later
// Where this host keeps its controllers.
#include "libvz/kernel/cgroup.h"

#include <algorithm>
#include <array>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount_table.h"

namespace vz {

namespace {

struct ControllerRow {
  Controller controller;
  const char* name;     // of /proc/cgroups' successor, cgroup.controllers
  const char* v1_name;  // of v1 mount options and /proc/cgroups
};

constexpr std::array kControllers = {
    ControllerRow{Controller::memory, "memory", "memory"},
    ControllerRow{Controller::cpu, "cpu", "cpu"},
    ControllerRow{Controller::cpuacct, "cpuacct", "cpuacct"},
    ControllerRow{Controller::cpuset, "cpuset", "cpuset"},
    ControllerRow{Controller::io, "io", "blkio"},
    ControllerRow{Controller::pids, "pids", "pids"},
    ControllerRow{Controller::freezer, "freezer", "freezer"},
    ControllerRow{Controller::perf_event, "perf_event", "perf_event"},
};

struct Mount {
  std::string root, point, type;
  std::vector<std::string> super_options;
};

std::vector<Mount> cgroup_mounts(std::string_view mountinfo) {
  std::vector<Mount> out;
  for (auto& mount : parse_mounts(mountinfo)) {
    if (mount.type != "cgroup" && mount.type != "cgroup2") continue;
    // A bind mount of a part of a hierarchy is no place for vz.slice.
    if (mount.root != "/") continue;
    out.push_back({mount.root, mount.point, mount.type, split(mount.super_options, ',')});
  }
  return out;
}

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// Controllers that boot parameters disabled (cgroup_disable=) are listed with enabled = 0.
std::vector<std::string> disabled_controllers(const std::string& root) {
  std::vector<std::string> out;
  auto text = read_file(root + "/proc/cgroups");
  if (!text) return out;  // gone when the kernel has no v1 at all
  for (const auto& line : split(*text, '\n')) {
    auto fields = split_blank(line);
    if (fields.size() == 4 && fields[0][0] != '#' && fields[3] == "0") out.push_back(fields[0]);
  }
  return out;
}

// The root group has no memory.swap.max, so ask a child that has the memory controller. Without one, only
// swapaccount=0 on an old kernel's command line could have switched it off.
bool swap_accounting_v2(const std::string& root, const std::string& unified) {
  if (auto names = list_dir(unified)) {
    for (const auto& name : *names) {
      if (!exists(unified + "/" + name + "/memory.current")) continue;
      return exists(unified + "/" + name + "/memory.swap.current");
    }
  }
  auto cmdline = read_file(root + "/proc/cmdline");
  return exists(root + "/proc/swaps") && (!cmdline || cmdline->find("swapaccount=0") == std::string::npos);
}

// Root groups have no weight; these files tell that the groups below will.
std::string find_io_weight_file(const std::string& root, const ControllerMount& io) {
  if (!io.v2) return exists(io.path + "/blkio.bfq.io_service_bytes") ? "blkio.bfq.weight" : "";
  if (exists(io.path + "/io.cost.qos")) return "io.weight";
  return exists(root + "/sys/module/bfq") ? "io.bfq.weight" : "";
}

void add_v1(CgroupHost& host, const std::string& root, const std::vector<Mount>& mounts) {
  auto disabled = disabled_controllers(root);
  for (const auto& row : kControllers) {
    if (has(disabled, row.v1_name)) continue;
    auto mount = std::find_if(mounts.begin(), mounts.end(),
                              [&](const Mount& m) { return m.type == "cgroup" && has(m.super_options, row.v1_name); });
    if (mount != mounts.end() && !host.find(row.controller))
      host.controllers.push_back({row.controller, false, root + mount->point});
  }
}

Result<> add_v2(CgroupHost& host, const std::string& mount_point) {
  host.unified = mount_point;
  auto names = split_blank(VZ_TRY(read_file(mount_point + "/cgroup.controllers")));
  for (const auto& row : kControllers)
    if (has(names, row.name)) host.controllers.push_back({row.controller, true, mount_point});
  // Not listed there, but part of cgroup2 itself (cgroup.freeze) and better than v1's.
  host.controllers.push_back({Controller::freezer, true, mount_point});
  return {};
}

}  // namespace

const char* controller_name(Controller c) {
  for (const auto& row : kControllers)
    if (row.controller == c) return row.name;
  return "?";
}

const ControllerMount* CgroupHost::find(Controller c) const {
  for (const auto& mount : controllers)
    if (mount.controller == c) return &mount;
  return nullptr;
}

Result<CgroupHost> CgroupHost::probe(const std::string& root) {
  CgroupHost host;
  auto mounts = cgroup_mounts(VZ_TRY(read_file(root + "/proc/self/mountinfo")));
  for (const auto& mount : mounts) {
    if (mount.type == "cgroup2" && host.unified.empty())
      VZ_TRY_CTX(add_v2(host, root + mount.point), "cgroup2 at " + mount.point);
    if (mount.type == "cgroup" && has(mount.super_options, "name=systemd") && host.systemd_v1.empty())
      host.systemd_v1 = root + mount.point;
  }
  add_v1(host, root, mounts);
  // cpu.stat is there without any controller.
  if (!host.unified.empty() && !host.find(Controller::cpuacct))
    host.controllers.push_back({Controller::cpuacct, true, host.unified});
  host.systemd_manages = exists(root + "/run/systemd/system");
  if (const auto* memory = host.find(Controller::memory))
    host.swap_accounting =
        memory->v2 ? swap_accounting_v2(root, memory->path) : exists(memory->path + "/memory.memsw.limit_in_bytes");
  if (const auto* io = host.find(Controller::io)) host.io_weight_file = find_io_weight_file(root, *io);
  return host;
}

}  // namespace vz

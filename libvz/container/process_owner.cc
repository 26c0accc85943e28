// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/process.h>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/kernel/cgroup_tree.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process_usage.h"

namespace vz {

namespace {

// "0::/vz.slice/vz-101.scope/ct/ns": names below the scope are the container's, those before it are not.
Ctid container_in(std::string_view groups) {
  const std::string prefix = std::string(":/") + kSlice + "/vz-";
  for (const auto& line : split(groups, '\n')) {
    auto at = line.find(':');
    at = at == line.npos ? at : line.find(':', at + 1);
    if (at == line.npos || !std::string_view(line).substr(at).starts_with(prefix)) continue;
    auto rest = line.substr(at + prefix.size());
    auto end = rest.find(".scope/");
    if (end == rest.npos) continue;
    if (auto id = Ctid::parse(rest.substr(0, end))) return *id;
  }
  return Ctid(0);
}

}  // namespace

Result<ProcessOwner> process_owner(pid_t pid) {
  auto groups = read_file(fmt::format("/proc/{}/cgroup", pid));
  auto status = read_process_status(pid);
  if (!groups || !status) return fail(Code::bad_value, fmt::format("Process not found: {}", pid));
  return ProcessOwner{container_in(*groups), status->innermost_pid, status->name};
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/net_sysctl.h"

#include <cerrno>

#include <fcntl.h>

#include "libvz/base/fd.h"
#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/mount.h"

namespace vz {
namespace {

constexpr char kDirectory[] = "/proc/sys/net/";

}  // namespace

Result<> write_net_sysctl(const std::string& name, std::string_view value) {
  return write_kernel_file(kDirectory + name, value);
}

Result<> write_net_sysctl_if_present(const std::string& name, std::string_view value) {
  auto result = write_net_sysctl(name, value);
  if (!result && result.error().sys_errno() == ENOENT) return {};
  return result;
}

Result<> write_net_sysctls_apart(const std::vector<std::pair<std::string, std::string>>& settings) {
  // Not permitted where the host's own /proc is masked; then the slow way.
  UniqueFd proc = new_mount("proc", {}, 0).value_or(UniqueFd{});
  if (!proc) proc = VZ_TRY(open_file("/proc", O_PATH | O_DIRECTORY));
  for (const auto& [name, value] : settings) {
    auto written = write_kernel_file_at(proc.get(), "sys/net/" + name, value);
    if (!written && written.error().sys_errno() != ENOENT) return written;
  }
  return {};
}

std::optional<std::string> read_net_sysctl(const std::string& name) {
  auto text = read_file(kDirectory + name);
  if (!text) return std::nullopt;
  return std::string(trim(*text));
}

std::vector<std::string> list_net_sysctls(const std::string& directory) {
  return list_dir(kDirectory + directory).value_or(std::vector<std::string>{});
}

}  // namespace vz

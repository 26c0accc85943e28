// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/net_sysctl.h"

#include <cerrno>

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"

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

std::optional<std::string> read_net_sysctl(const std::string& name) {
  auto text = read_file(kDirectory + name);
  if (!text) return std::nullopt;
  return std::string(trim(*text));
}

std::vector<std::string> list_net_sysctls(const std::string& directory) {
  return list_dir(kDirectory + directory).value_or(std::vector<std::string>{});
}

}  // namespace vz

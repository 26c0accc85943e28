// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/module.h"

#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"

namespace vz {

bool module_loaded(const std::string& name) { return exists("/sys/module/" + name); }

Result<> load_module(const std::string& name, const std::vector<std::string>& parameters) {
  if (module_loaded(name)) return {};
  Command command;
  command.argv = {"modprobe", "--", name};
  command.argv.insert(command.argv.end(), parameters.begin(), parameters.end());
  auto ran = run_checked(command, Code::unsupported);
  if (!ran) return fail(std::move(ran).error().context("kernel module " + name).with_code(Code::unsupported));
  return {};
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/kernel/bpf_loader.h"

#include "libvz/base/text.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/process.h"

#ifndef VZ_LIBEXECDIR
#define VZ_LIBEXECDIR "/usr/libexec/vz"
#endif

namespace vz {

std::string bpf_loader_path() {
  std::string installed = VZ_LIBEXECDIR "/vz-bpf";
  if (exists(installed)) return installed;
  // A build tree: BUILD/vzctl/vzctl and BUILD/bpf/vz-bpf.
  auto self = read_link("/proc/self/exe");
  if (!self) return {};
  for (const char* below : {"/../bpf/vz-bpf", "/vz-bpf"}) {
    std::string beside = self->substr(0, self->rfind('/')) + below;
    if (exists(beside)) return beside;
  }
  return {};
}

Result<> load_bpf_programs() {
  auto path = bpf_loader_path();
  if (path.empty())
    return fail(Error(Code::unsupported, "vz-bpf is not installed").with_hint("it comes with vz, in " VZ_LIBEXECDIR));
  Command command;
  command.argv = {path, "load"};
  auto ran = VZ_TRY(run_command(command));
  if (ran.status == 0) return {};
  auto text = std::string(trim(ran.output));
  return fail(Code::unsupported, "vz-bpf load: " + (text.empty() ? "status " + std::to_string(ran.status) : text));
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/migration_check.h"

#include <algorithm>
#include <vector>

#include <fcntl.h>

#include <fmt/format.h>

#include "libvz/base/fd.h"
#include "libvz/base/text.h"
#include "libvz/container/dir_quota.h"
#include "libvz/container/value.h"
#include "libvz/kernel/criu.h"
#include "libvz/kernel/file.h"
#include "libvz/kernel/hardware.h"
#include "libvz/kernel/hostinfo.h"

namespace vz {

namespace {

// Its images change between minor versions.
Result<CriuProgram> check_criu(const std::string& theirs) {
  auto here = VZ_TRY(choose_criu());
  if (minor_of(here.version.str()) != minor_of(theirs))
    return fail(
        Error(Code::unsupported, fmt::format("CRIU there is {}, and {} here", here.version.str(), printable(theirs)))
            .with_hint("install the same version on both hosts, or move it without --live"));
  // What this kernel can do it looks up once after boot (/run/criu.kdat): not while a container waits for it.
  auto criu = VZ_TRY(Criu::spawn(here, {}));
  VZ_TRY(criu.features());
  return here;
}

// A program has looked once for what the processor can, and uses it from then on.
Result<> check_processor(const MigrationMessage& request) {
  const auto machine = VZ_TRY(host_identity()).machine;
  if (machine != request.text("machine"))
    return fail(Error(Code::unsupported, fmt::format("its processes are of {}, and the host there is {}",
                                                     printable(request.text("machine")), machine))
                    .with_hint("move it without --live, if its programs run there at all"));
  const auto here = instruction_sets();
  std::vector<std::string> missing;
  for (const auto& set : split_blank(request.text("cpu")))
    if (std::find(here.begin(), here.end(), set) == here.end()) missing.push_back(printable(set));
  if (missing.empty() || request.text("force") == "yes") return {};
  return fail(
      Error(Code::unsupported, fmt::format("the processor there lacks {}", join(missing, " ")))
          .with_hint(
              "programs that use it would be killed there: move it without --live; --force moves it all the same"));
}

Result<> check_memory(const MigrationMessage& request) {
  const auto needed = VZ_TRY(request.number("memory"));
  const auto memory = VZ_TRY(host_memory());
  if (needed <= memory.available + memory.swap_free || request.text("force") == "yes") return {};
  return fail(
      Error(Code::no_resources, fmt::format("its processes hold {} MiB, and {} MiB of RAM and swap are free there",
                                            needed >> 20, (memory.available + memory.swap_free) >> 20))
          .with_hint("stop something there, or move it to another host; --force moves it all the same"));
}

}  // namespace

Result<std::optional<CriuProgram>> check_processes(const MigrationMessage& request) {
  const auto criu = request.text("criu");
  if (criu.empty()) return std::nullopt;
  auto program = VZ_TRY(check_criu(criu));
  VZ_TRY(check_processor(request));
  VZ_TRY(check_memory(request));
  return program;
}

// The nearest directory that exists tells which file system it will be.
Result<> check_room(const std::string& private_path, std::uint64_t bytes) {
  UniqueFd fd = VZ_TRY(open_file(existing_dir(private_path), O_RDONLY | O_DIRECTORY));
  auto left = VZ_TRY(free_space(fd.get()));
  if (bytes <= left.bytes) return {};
  return fail(Error(Code::no_disk_space, fmt::format("{} needs {} MiB, and {} MiB are free there", private_path,
                                                     (bytes >> 20) + 1, left.bytes >> 20))
                  .with_hint("free some space on the destination, or let VE_PRIVATE in its vz.conf name another disk"));
}

}  // namespace vz

// SPDX-License-Identifier: GPL-2.0-or-later
// suspend (chkpnt) and resume (restore).
#include <filesystem>
#include <optional>
#include <utility>

#include "vzctl/command.h"

namespace vzctl {
namespace {

// At most one of the steps may be named.
template <class Step, std::size_t N>
vz::Result<Step> chosen_step(const Options& options, const std::pair<const char*, Step> (&steps)[N]) {
  std::optional<Step> found;
  for (const auto& [name, step] : steps) {
    if (!options.has(name)) continue;
    if (found) return vz::fail(vz::Code::bad_syntax, std::string(name) + " cannot be combined with another step");
    found = step;
  }
  return found.value_or(Step::all);
}

std::string dump_path(const Options& options) {
  const std::string* path = options.last("--dumpfile");
  return path ? std::filesystem::absolute(*path).lexically_normal().string() : std::string();
}

}  // namespace

int run_suspend(Invocation& call) {
  using vz::CheckpointStep;
  auto step = chosen_step<CheckpointStep>(call.options, {{"--suspend", CheckpointStep::suspend},
                                                         {"--dump", CheckpointStep::dump},
                                                         {"--kill", CheckpointStep::kill},
                                                         {"--resume", CheckpointStep::resume}});
  if (!step) return finish(call.reporter, step.error());
  vz::CheckpointOptions options;
  options.step = *step;
  options.dump = dump_path(call.options);
  options.force = call.options.has("--force");
  return finish(call.reporter, call.container().checkpoint(options, call.reporter));
}

int run_resume(Invocation& call) {
  using vz::RestoreStep;
  auto step = chosen_step<RestoreStep>(
      call.options,
      {{"--undump", RestoreStep::undump}, {"--resume", RestoreStep::resume}, {"--kill", RestoreStep::kill}});
  if (!step) return finish(call.reporter, step.error());
  vz::RestoreOptions options;
  options.step = *step;
  options.dump = dump_path(call.options);
  options.keep_dump = call.options.has("--keep-dump");
  options.skip_fsck = call.options.has("--skip-fsck");
  options.force = call.options.has("--force");
  return finish(call.reporter, call.container().restore(options, call.reporter));
}

}  // namespace vzctl

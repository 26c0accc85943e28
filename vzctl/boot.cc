// SPDX-License-Identifier: GPL-2.0-or-later
// The hidden commands behind vz.service.
#include <fmt/format.h>

#include <vz/boot.h>
#include "vzctl/command.h"

namespace vzctl {

namespace {

// The first failure is the exit code; the containers' own messages came before.
int summarize(Invocation& call, const vz::Result<std::vector<vz::BootStatus>>& done, const char* verb) {
  if (!done) return finish(call.reporter, done.error());
  int status = 0;
  std::size_t failed = 0;
  for (const auto& one : *done) {
    if (one.status == 0) continue;
    ++failed;
    if (status == 0) status = one.status;
  }
  call.reporter.info(fmt::format("{} of {} containers {}", done->size() - failed, done->size(), verb));
  return status;
}

}  // namespace

int run_boot_start(Invocation& call) { return summarize(call, vz::start_all(*call.host, call.reporter), "started"); }
int run_boot_stop(Invocation& call) { return summarize(call, vz::stop_all(*call.host, call.reporter), "stopped"); }

}  // namespace vzctl

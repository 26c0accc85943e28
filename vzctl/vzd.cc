// SPDX-License-Identifier: GPL-2.0-or-later
// The host's one optional daemon.
#include <unistd.h>

#include <fmt/format.h>

#include <vz/daemon.h>

#include "vzctl/command.h"

namespace vzctl {
namespace {

constexpr Option kOptions[] = {{"-v,--verbose", nullptr, "Say what happens"}};

}  // namespace

int vzd_main(std::vector<std::string> args) {
  TerminalReporter reporter("vzd");
  auto options = parse_options(kOptions, std::move(args));
  if (!options) return finish(reporter, options.error());
  if (options->has("--help")) {
    fmt::print("usage: vzd [-v]\nWatches the containers of this host; started by vzd.service.\n");
    return 0;
  }
  if (options->has("--verbose")) reporter.set_verbosity(1);
  if (geteuid() != 0) return finish(reporter, vz::Error(vz::Code::no_access, "vzd can only be run under root"));
  auto host = vz::Host::open();
  if (!host) return finish(reporter, host.error());
  reporter.use_config(host->global(), options->has("--verbose"));
  return finish(reporter, vz::run_daemon(*host, reporter));
}

}  // namespace vzctl

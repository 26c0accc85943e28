// SPDX-License-Identifier: GPL-2.0-or-later
#include <charconv>

#include <fmt/format.h>

#include "vzctl/command.h"

namespace vzctl {

vz::Result<vz::StopOptions> to_stop_options(const Options& options) {
  vz::StopOptions out;
  out.fast = options.has("--fast");
  out.skip_umount = options.has("--skip-umount");
  if (const std::string* text = options.last("--stop-timeout")) {
    unsigned seconds = 0;
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
    if (error != std::errc() || end != text->data() + text->size() || seconds > 86400)
      return vz::fail(vz::Code::bad_value, fmt::format("Bad value for --stop-timeout: {} (0 to 86400 seconds)", *text));
    out.timeout = std::chrono::seconds(seconds);
  }
  return out;
}

int run_stop(Invocation& call) {
  auto options = to_stop_options(call.options);
  if (!options) return finish(call.reporter, options.error());
  auto done = call.container().stop(*options, call.reporter);
  int status = finish(call.reporter, done);
  // Scripts stop containers that may be down already.
  return !done && done.error().code() == vz::Code::not_running ? 0 : status;
}

}  // namespace vzctl

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/console_attach.h"

#include <chrono>
#include <optional>

#include "libvz/container/state.h"
#include "libvz/kernel/console.h"
#include "libvz/kernel/console_proxy.h"
#include "libvz/kernel/dir_watch.h"
#include "libvz/kernel/file.h"

namespace vz {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A start hands its console to vzd within milliseconds of the state that says "running"; a machine that swaps, within
// seconds.
constexpr auto kAdoptWait = std::chrono::seconds(10);
constexpr milliseconds kAgain(50);  // a console.log of an earlier start is no new name when vzd adopts

// vzd makes RUN/ID/console.log when it adopts a container, so a new name below RUN or RUN/ID is worth a new try. Other
// names appear there during a start, too: only time says that nobody will adopt what runs.
Result<ConsoleLease> wait_for_console(const Host& host, Ctid id, Reporter& reporter) {
  const std::string& run = host.paths().run;
  VZ_TRY(make_dirs(run, 0755));
  DirWatch watch = VZ_TRY(DirWatch::create());
  VZ_TRY(watch.add(run));
  bool said = false;
  std::optional<Clock::time_point> give_up;
  for (;;) {
    if (exists(host.run_dir(id))) (void)watch.add(host.run_dir(id));
    auto lease = vzd_console(run, id);
    if (lease || lease.error().code() != Code::not_running) return lease;
    if (VZ_TRY(running_state(host, id))) {
      if (!give_up) give_up = Clock::now() + kAdoptWait;
      if (Clock::now() >= *give_up) return lease;
      VZ_TRY(watch.wait(kAgain));
      continue;
    }
    give_up.reset();
    if (!said) reporter.info("Container is not running, waiting for its start (Ctrl-C to give up)");
    said = true;
    VZ_TRY(watch.wait(std::nullopt));
  }
}

const char* describe(ConsoleEnd end) {
  switch (end) {
    case ConsoleEnd::detached:
      return "Detached from the console";
    case ConsoleEnd::closed:
      return "The container ended";
    case ConsoleEnd::lost:
      return "vzd ended, and the console with it";
    case ConsoleEnd::interrupted:
      break;
  }
  return "Interrupted";
}

}  // namespace

Result<int> attach_console(const Host& host, Ctid id, int tty, Reporter& reporter) {
  if (tty != 1)
    return fail(Error(Code::unsupported, "tty " + std::to_string(tty) + ": containers have one console, tty 1")
                    .with_hint("run `vzctl console " + id.str() + "`, or `vzctl enter " + id.str() + "` for a shell"));
  ConsoleLease lease = VZ_TRY(wait_for_console(host, id, reporter));
  reporter.info("Attached to the console of container " + id.str() + ", Esc . detaches");
  VZ_TRY_CTX(write_all(1, lease.backlog), "show the console's last lines");
  ConsoleEnd end = VZ_TRY(proxy_console(lease.master, lease.lease, 0, 1));
  reporter.info(std::string("\n") + describe(end));
  return 0;
}

}  // namespace vz

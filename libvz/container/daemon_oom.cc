// SPDX-License-Identifier: LGPL-2.1-or-later
// What vzd says about processes that the kernel killed for want of memory.
#include "libvz/container/daemon.h"

#include "libvz/container/oom.h"
#include "libvz/kernel/module.h"

namespace vz {

// The module tells with all numbers; without it the kernel's log names container and victim. It may come and go.
void Daemon::watch_oom() {
  const bool module = module_loaded("vz");
  if (!module && oom_events_) {
    poller_.remove(oom_events_->fd());
    oom_events_.reset();
  }
  if (module && !oom_events_) {
    auto events = VzEvents::open();
    if (events && poller_.add(events->fd(), EPOLLIN, token(Token::oom))) {
      if (kernel_log_) poller_.remove(kernel_log_->fd());
      kernel_log_.reset();
      oom_events_ = std::move(*events);
    }
  }
  if (oom_events_ || kernel_log_) return;
  auto log = KernelLog::open();
  if (log && poller_.add(log->fd(), EPOLLIN, token(Token::oom)))
    kernel_log_ = std::move(*log);
  else if (!log)
    reporter_.debug("out-of-memory kills are not reported: " + log.error().message());
}

void Daemon::oom_event() {
  bool lost = false;
  if (oom_events_)
    for (const auto& kill : oom_events_->read(&lost)) say_oom(oom_report(kill));
  if (lost) reporter_.warn("some out-of-memory kills came too fast to be reported; `vzctl` counts all of them");
  if (!kernel_log_) return;
  for (const auto& record : kernel_log_->read()) {
    auto report = parse_oom_line(record);
    if (!report) continue;
    if (auto cgroups = CgroupHost::probe()) add_memory(*cgroups, *report);
    say_oom(*report);
  }
}

void Daemon::say_oom(const OomReport& report) {
  if (!wards_.contains(report.id)) return;  // another vz's, or gone
  log(Reporter::Level::warning, report.id, oom_message(report));
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
// What vzd says about disk limits that were met: of users inside, and of whole containers.
#include "libvz/container/daemon.h"
#include "libvz/container/state.h"

namespace vz {
void Daemon::watch_quota() {
  auto events = QuotaEvents::open();
  if (events && poller_.add(events->fd(), EPOLLIN, token(Token::quota_event)))
    quota_events_ = std::move(*events);
  else if (!events)
    reporter_.debug("disk limits that are met are not reported: " + events.error().message());
}

void Daemon::quota_event() {
  if (!quota_events_) return;
  bool lost = false;
  for (const auto& event : quota_events_->read(&lost)) {
    if (event.what == QuotaEvent::What::below) continue;
    for (const auto& [id, ward] : wards_) {
      auto state = load_state(host_, id);
      if (!state || !*state) continue;
      auto inside = quota_event_id(host_, **state, event);
      if (!inside) continue;
      (void)count_quota_event(host_, id, event);
      std::uint64_t unsaid = 0;
      if (!quota_voices_[id].may_say(Clock::now(), &unsaid)) break;
      std::string more = unsaid ? " (" + std::to_string(unsaid) + " more were not reported)" : "";
      log(Reporter::Level::warning, id, quota_event_text(event, *inside) + more);
      break;
    }
  }
  if (lost) reporter_.warn("some disk limits were met too fast to be reported");
}

}  // namespace vz

// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vz/monitor.h>

#include <algorithm>

#include <fmt/format.h>
#include <vz/beancounters.h>

#include "libvz/container/oom_victims.h"
#include "libvz/container/quota_events.h"
#include "libvz/container/state.h"
#include "libvz/kernel/poller.h"
#include "libvz/kernel/quota_netlink.h"

namespace vz {

namespace {

enum : std::uint64_t { kCounters, kQuotas, kVictims };

std::string text_of(const UbEvent& event) {
  switch (event.kind) {
    case UbEvent::Kind::refused:
      return fmt::format("{} refused {} more (failcnt {})", ub_resource(event.resource).name, event.delta,
                         event.counter.failcnt.value_or(0));
    case UbEvent::Kind::oom_kill:
      return fmt::format("out of memory: {} killed",
                         event.delta == 1 ? "a process" : fmt::format("{} processes", event.delta));
    default:
      return ub_event_name(event.kind);
  }
}

MonitorEvent event_of(const UbEvent& event) {
  MonitorEvent out;
  out.what = ub_event_name(event.kind);
  out.id = event.id;
  if (event.kind == UbEvent::Kind::refused) out.resource = ub_resource(event.resource).name;
  out.count = event.delta;
  out.text = text_of(event);
  return out;
}

MonitorEvent event_of(const OomReport& report) {
  MonitorEvent out;
  out.what = ub_event_name(UbEvent::Kind::oom_kill);
  out.id = report.id;
  out.count = 1;
  out.text = oom_message(report);
  return out;
}

MonitorEvent event_of(Ctid id, const QuotaEvent& event, std::uint64_t inside) {
  MonitorEvent out;
  switch (event.what) {
    case QuotaEvent::What::hard_limit:
      out.what = "hard_limit";
      break;
    case QuotaEvent::What::soft_limit:
      out.what = "soft_limit";
      break;
    case QuotaEvent::What::grace_over:
      out.what = "grace_over";
      break;
    case QuotaEvent::What::below:
      out.what = "below";
      break;
  }
  out.id = id;
  out.text = quota_event_text(event, inside);
  out.resource = out.text.substr(0, out.text.find(':'));
  return out;
}

}  // namespace

struct Monitor::Impl {
  const Host& host;
  MonitorOptions options;
  Poller poller;
  UbEvents counters;
  std::optional<QuotaEvents> quotas;
  std::optional<OomVictims> victims;
  std::vector<std::string> missing;

  void add_kills(UbEvent event, std::vector<MonitorEvent>& out);
  Result<> look_at_counters(std::vector<MonitorEvent>& out);
  Result<> look_at_quotas(std::vector<MonitorEvent>& out);
};

// Each by name as far as the module told of them, the rest as a number.
void Monitor::Impl::add_kills(UbEvent event, std::vector<MonitorEvent>& out) {
  if (victims) {
    for (const auto& report : victims->take(event.id, event.delta)) {
      out.push_back(event_of(report));
      --event.delta;
    }
  }
  if (event.delta > 0) out.push_back(event_of(event));
}

Result<> Monitor::Impl::look_at_counters(std::vector<MonitorEvent>& out) {
  while (auto event = VZ_TRY(counters.next())) {
    if (event->kind == UbEvent::Kind::oom_kill)
      add_kills(*event, out);
    else
      out.push_back(event_of(*event));
  }
  return {};
}

Result<> Monitor::Impl::look_at_quotas(std::vector<MonitorEvent>& out) {
  bool lost = false;
  auto events = quotas->read(&lost);
  if (events.empty()) return {};
  const auto ids = options.only.empty() ? VZ_TRY(host.containers()) : options.only;
  for (const auto& event : events) {
    for (Ctid id : ids) {
      auto state = running_state(host, id);
      if (!state || !*state) continue;
      auto inside = quota_event_id(host, **state, event);
      if (!inside) continue;
      out.push_back(event_of(id, event, *inside));
      break;
    }
  }
  return {};
}

Monitor::Monitor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Monitor::Monitor(Monitor&&) noexcept = default;
Monitor& Monitor::operator=(Monitor&&) noexcept = default;
Monitor::~Monitor() = default;

Result<Monitor> Monitor::open(const Host& host, const MonitorOptions& options) {
  auto poller = VZ_TRY(Poller::create());
  UbEventOptions counted;
  counted.interval = options.interval;
  counted.only = options.only;
  auto counters = VZ_TRY(UbEvents::open(host, std::move(counted)));
  auto impl = std::make_unique<Impl>(Impl{host, options, std::move(poller), std::move(counters), {}, {}, {}});
  VZ_TRY(impl->poller.add(impl->counters.fd(), EPOLLIN, kCounters));
  if (auto quotas = QuotaEvents::open()) {
    VZ_TRY(impl->poller.add(quotas->fd(), EPOLLIN, kQuotas));
    impl->quotas = std::move(*quotas);
  } else {
    impl->missing.push_back("disk limits that are met: " + quotas.error().message());
  }
  if (auto victims = OomVictims::open()) {
    VZ_TRY(impl->poller.add(victims->fd(), EPOLLIN, kVictims));
    impl->victims = std::move(*victims);
  } else {
    impl->missing.push_back("who was killed for want of memory: " + victims.error().message());
  }
  return Monitor(std::move(impl));
}

Result<std::vector<MonitorEvent>> Monitor::wait() {
  std::vector<MonitorEvent> out;
  for (const auto& ready : VZ_TRY(impl_->poller.wait(std::nullopt))) {
    if (ready.data.u64 == kCounters) VZ_TRY(impl_->look_at_counters(out));
    if (ready.data.u64 == kQuotas) VZ_TRY(impl_->look_at_quotas(out));
    if (ready.data.u64 == kVictims) impl_->victims->gather();
  }
  return out;
}

const std::vector<std::string>& Monitor::missing() const { return impl_->missing; }

}  // namespace vz

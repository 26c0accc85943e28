// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvz/container/quota_events.h"

#include <cerrno>

#include <fmt/format.h>

#include "libvz/base/text.h"
#include "libvz/container/quota_scope.h"
#include "libvz/kernel/file.h"

namespace vz {

namespace {

constexpr auto kWindow = std::chrono::seconds(60);
constexpr unsigned kLines = 10;  // in a window

std::string events_file(const Host& host, Ctid id) { return host.run_dir(id) + "/quota_events"; }

}  // namespace

bool QuotaVoice::may_say(Clock::time_point now, std::uint64_t* unsaid) {
  if (now - window_ >= kWindow) {
    window_ = now;
    said_ = 0;
  }
  if (said_ >= kLines) {
    ++unsaid_;
    return false;
  }
  ++said_;
  *unsaid = std::exchange(unsaid_, 0);
  return true;
}

std::optional<std::uint64_t> quota_event_id(const Host& host, const State& state, const QuotaEvent& event) {
  Config config = Config::parse(state.config_snapshot, "state");
  auto scope = quota_scope(host.private_path(state.id, config), state);
  if (!scope || quota_device(*scope) != event.device) return std::nullopt;
  if (scope->view.own_file_system) return event.id;
  const std::uint64_t id = event.id - scope->view.base;
  if (event.id < scope->view.base || id >= scope->view.count) return std::nullopt;
  return event.type > 1 ? 0 : id;
}

std::string quota_event_text(const QuotaEvent& event, std::uint64_t id) {
  constexpr const char* kKinds[] = {"user", "group", "project"};
  std::string who = event.type == 2 ? "disk" : fmt::format("{} {}", event.type < 3 ? kKinds[event.type] : "?", id);
  const char* what = event.inodes ? "files" : "disk space";
  switch (event.what) {
    case QuotaEvent::What::hard_limit:
      return fmt::format("{}: hard limit of {} reached", who, what);
    case QuotaEvent::What::soft_limit:
      return fmt::format("{}: soft limit of {} exceeded, the grace time runs", who, what);
    case QuotaEvent::What::grace_over:
      return fmt::format("{}: grace time of {} is over, the soft limit holds", who, what);
    case QuotaEvent::What::below:
      break;
  }
  return fmt::format("{}: {} below its limit again", who, what);
}

Result<QuotaEventCounts> read_quota_events(const Host& host, Ctid id) {
  QuotaEventCounts counts;
  auto text = read_file(events_file(host, id), 4096);
  if (!text && text.error().sys_errno() == ENOENT) return counts;
  if (!text) return fail(std::move(text).error());
  for (const auto& line : split(*text, '\n')) {
    auto words = split_blank(line);
    auto value = words.size() == 2 ? parse_u64(words[1]) : fail(Code::bad_value, "");
    if (!value) continue;
    if (words[0] == "soft") counts.soft = *value;
    if (words[0] == "grace") counts.grace = *value;
    if (words[0] == "hard") counts.hard = *value;
  }
  return counts;
}

Result<> count_quota_event(const Host& host, Ctid id, const QuotaEvent& event) {
  auto counts = VZ_TRY(read_quota_events(host, id));
  if (event.what == QuotaEvent::What::soft_limit) ++counts.soft;
  if (event.what == QuotaEvent::What::grace_over) ++counts.grace;
  if (event.what == QuotaEvent::What::hard_limit) ++counts.hard;
  auto text = fmt::format("soft {}\ngrace {}\nhard {}\n", counts.soft, counts.grace, counts.hard);
  return replace_file(events_file(host, id), text, 0644);
}

}  // namespace vz

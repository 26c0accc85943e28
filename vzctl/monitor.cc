// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl monitor: one line for each event.
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <vz/config.h>
#include <vz/monitor.h>
#include <nlohmann/json.hpp>

#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

std::string local_time(std::time_t now) {
  std::tm tm{};
  localtime_r(&now, &tm);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", tm);
}

// One object a line, so that a reader can take it line by line.
std::string json_line(const vz::MonitorEvent& event, std::time_t now) {
  nlohmann::ordered_json j{{"time", now}, {"ctid", event.id.value()}, {"event", event.what}};
  if (!event.resource.empty()) j["resource"] = event.resource;
  if (event.count) j["count"] = event.count;
  j["text"] = event.text;
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

vz::Result<vz::MonitorOptions> options_of(const Invocation& call) {
  vz::MonitorOptions out;
  for (const auto& word : call.options.words) out.only.push_back(VZ_TRY(call.host->resolve(word)));
  if (const std::string* text = call.options.last("--interval")) {
    char* end = nullptr;
    const double seconds = std::strtod(text->c_str(), &end);
    if (text->empty() || *end != '\0' || !(seconds >= 0.1 && seconds <= 3600))
      return fail(Code::bad_value, fmt::format("Bad value for --interval: {} (0.1 to 3600 seconds)", printable(*text)));
    out.interval = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  }
  return out;
}

vz::Result<> run(Invocation& call) {
  const bool json = call.options.has("--json");
  if (json) call.reporter.set_verbosity(-1);
  auto options = VZ_TRY(options_of(call));
  auto monitor = VZ_TRY(vz::Monitor::open(*call.host, options));
  for (const auto& line : monitor.missing()) call.reporter.warn("Note: not told on this host: " + line);
  for (;;) {
    for (const auto& event : VZ_TRY(monitor.wait())) {
      const std::time_t now = std::time(nullptr);
      VZ_TRY(put(json ? json_line(event, now)
                      : fmt::format("{} CT {}: {}\n", local_time(now), event.id.value(), printable(event.text))));
    }
  }
}

}  // namespace

int run_monitor(Invocation& call) { return finish(call.reporter, run(call)); }

}  // namespace vzctl

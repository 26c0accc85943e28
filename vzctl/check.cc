// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>

#include <fmt/format.h>

#include <vz/precheck.h>

#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

std::string text_or_dash(const char* text) { return text && *text ? text : "-"; }
std::string text_or_dash(const std::string& text) { return text.empty() ? "-" : text; }

Table feature_table(const vz::Features& features) {
  Table table{{{"name", "FEATURE", -1, {}},
               {"present", "HERE", -4, {}},
               {"detail", "DETAIL", -1, {}},
               {"consequence", "WITHOUT IT", -1, {}},
               {"remedy", "REMEDY", -1, {}}},
              {}};
  for (const vz::Feature& f : features.all())
    table.rows.push_back({{f.name, f.name},
                          {f.present ? "yes" : "no", f.present, f.present ? Tone::good : Tone::bad},
                          {f.detail.empty() ? "-" : f.detail, f.detail},
                          {text_or_dash(f.consequence), f.consequence ? Value(f.consequence) : Value()},
                          {text_or_dash(f.remedy), f.remedy.empty() ? Value() : Value(f.remedy)}});
  return table;
}

// Name, state and detail of all; what to do about the missing ones below.
std::string for_people(const vz::Features& features, bool color) {
  Table table = feature_table(features);
  table.columns.resize(3);
  for (auto& row : table.rows) row.resize(3);
  std::string out = to_text(table, {.color = color, .fit = true});
  auto missing =
      std::count_if(features.all().begin(), features.all().end(), [](const vz::Feature& f) { return !f.present; });
  if (missing == 0) return out + "\nThis host has everything.\n";
  out += fmt::format("\n{} of {} missing:\n", missing, features.all().size());
  for (const vz::Feature& f : features.all()) {
    if (f.present) continue;
    out += fmt::format("  {}\n    without it: {}\n    remedy:     {}\n", paint(f.name, Tone::bad, color),
                       text_or_dash(f.consequence), text_or_dash(f.remedy));
  }
  return out;
}

Table obstacle_table(const std::vector<vz::Obstacle>& obstacles) {
  Table table{{{"effect", "EFFECT", -1, {}},
               {"pid", "PID", 8, {}},
               {"host_pid", "HOST_PID", 8, {}},
               {"command", "COMMAND", -1, {}},
               {"object", "WHAT", -1, {}},
               {"remedy", "REMEDY", -1, {}}},
              {}};
  for (const vz::Obstacle& o : obstacles) {
    const bool blocks = o.effect == vz::Obstacle::Effect::blocks;
    const char* effect = blocks ? "blocks" : "changes";
    table.rows.push_back({{effect, effect, blocks ? Tone::bad : Tone::plain},
                          {o.pid ? std::to_string(o.pid) : "-", o.pid},
                          {o.host_pid ? std::to_string(o.host_pid) : "-", o.host_pid},
                          {text_or_dash(o.command.c_str()), o.command},
                          {o.object, o.object},
                          {o.remedy, o.remedy}});
  }
  return table;
}

// What to do stands below what it is for: both are long.
std::string for_people(const std::vector<vz::Obstacle>& obstacles) {
  if (obstacles.empty()) return "Nothing in it keeps this container from being saved.\n";
  std::string out;
  for (const vz::Obstacle& o : obstacles) {
    std::string who = o.pid ? fmt::format("process {} ({}, {} on the host): ", o.pid, o.command, o.host_pid) : "";
    out += fmt::format("{}{}{}\n  {}\n",
                       o.effect == vz::Obstacle::Effect::blocks ? "cannot be saved: " : "would change: ", who, o.object,
                       o.remedy);
  }
  return out;
}

int check_container(Invocation& call, const std::string& name, Format format) {
  auto id = call.host->resolve(name);
  if (!id) return finish(call.reporter, id.error());
  auto obstacles = vz::find_obstacles(*call.host, *id);
  if (!obstacles) return finish(call.reporter, obstacles.error());
  std::string text = format == Format::table ? for_people(*obstacles) : render(obstacle_table(*obstacles), format, {});
  int status = finish(call.reporter, put(text));
  return status || obstacles->empty() ? status : static_cast<int>(vz::Code::checkpoint);
}

}  // namespace

int run_check(Invocation& call) {
  auto format = chosen_format(call.options);
  if (!format) return finish(call.reporter, format.error());
  if (!call.options.words.empty()) return check_container(call, call.options.words.front(), *format);
  if (call.options.has("--fix"))
    if (auto fixed = vz::fix_features(*call.host, call.reporter); !fixed) return finish(call.reporter, fixed.error());
  const vz::Features& features = call.host->features();
  std::string text = *format == Format::table ? for_people(features, use_color(call.reporter.color(), 1))
                                              : render(feature_table(features), *format, {});
  return finish(call.reporter, put(text));
}

}  // namespace vzctl

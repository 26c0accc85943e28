// SPDX-License-Identifier: GPL-2.0-or-later
// The only file that knows CLI11: it is slow to compile, and a parser is built for the chosen command alone.
#include "vzctl/options.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace vzctl {

const std::string* Options::last(std::string_view name) const {
  auto it = std::find_if(given.rbegin(), given.rend(), [&](const Given& g) { return g.name == name; });
  return it == given.rend() ? nullptr : &it->value;
}

std::string Options::value_or(std::string_view name, std::string_view otherwise) const {
  const std::string* value = last(name);
  return value ? *value : std::string(otherwise);
}

std::vector<std::string> Options::all(std::string_view name) const {
  std::vector<std::string> out;
  for (const Given& g : given)
    if (g.name == name) out.push_back(g.value);
  return out;
}

std::vector<std::string_view> option_names(const Option& option) {
  std::vector<std::string_view> out;
  std::string_view rest = option.names;
  while (!rest.empty()) {
    size_t comma = std::min(rest.find(','), rest.size());
    out.push_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return out;
}

std::string_view option_name(const Option& option) {
  std::string_view names = option.names;
  size_t comma = names.rfind(',');
  return comma == names.npos ? names : names.substr(comma + 1);
}

namespace {

constexpr Option kHelp{"--help", nullptr, "Print this help"};

using Rows = std::map<const CLI::Option*, const Option*>;

void add_row(CLI::App& app, const Option& row, Rows& rows) {
  CLI::Option* added = row.metavar
                           ? app.add_option(row.names, CLI::callback_t([](const CLI::results_t&) { return true; }))
                           : app.add_flag(row.names);
  added->expected(row.metavar ? 1 : 0)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  rows[added] = &row;
}

// Results come per option; the order across options matters for `--ifname eth0 --mac …`.
std::vector<Options::Given> in_order(const CLI::App& app, const Rows& rows) {
  std::vector<Options::Given> out;
  std::map<const CLI::Option*, size_t> taken;
  for (const CLI::Option* option : app.parse_order()) {
    auto row = rows.find(option);
    if (row == rows.end()) continue;
    size_t index = taken[option]++;
    const auto& results = option->results();
    out.push_back({std::string(option_name(*row->second)), index < results.size() ? results[index] : ""});
  }
  return out;
}

bool looks_like_option(const std::string& word) { return word.size() > 1 && word[0] == '-'; }

}  // namespace

vz::Result<Options> parse_options(std::span<const Option> table, std::vector<std::string> args) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  Rows rows;
  bool own_help = false;
  for (const Option& row : table) {
    add_row(app, row, rows);
    own_help = own_help || option_name(row) == "--help";
  }
  if (!own_help) add_row(app, kHelp, rows);

  // What follows "--" is never an option; CLI11 would not tell us afterwards.
  auto dashes = std::find(args.begin(), args.end(), "--");
  std::vector<std::string> after(dashes == args.end() ? dashes : dashes + 1, args.end());
  args.erase(dashes, args.end());
  std::reverse(args.begin(), args.end());
  try {
    app.parse(std::move(args));
  } catch (const CLI::ParseError& e) {
    return vz::fail(vz::Code::bad_syntax, fmt::format("Bad option: {}", e.what()));
  }
  Options out;
  for (const std::string& word : app.remaining()) {
    if (looks_like_option(word)) return vz::fail(vz::Code::bad_syntax, fmt::format("Unknown option: {}", word));
    out.words.push_back(word);
  }
  out.given = in_order(app, rows);
  out.words.insert(out.words.end(), after.begin(), after.end());
  return out;
}

}  // namespace vzctl

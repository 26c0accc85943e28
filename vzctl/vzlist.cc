// SPDX-License-Identifier: GPL-2.0-or-later
// vzlist: the containers of this host, one a line.
#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

#include "vzctl/columns.h"
#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

constexpr int kFailed = 1;  // vzlist knows only 0 and 1

constexpr Option kOptions[] = {
    {"-a,--all", nullptr, "List all containers, not only running ones"},
    {"-S,--stopped", nullptr, "List stopped containers only"},
    {"-n,--name", nullptr, "Show names instead of CT IDs"},
    {"-H,--no-header", nullptr, "Print no header line"},
    {"-t,--no-trim", nullptr, "Do not cut long values to the width of their column"},
    {"-j,--json", nullptr, "Print JSON, all columns unless -o is given"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
    {"-o,--output", "COLUMN[,COLUMN...]", "Columns to print", Values::columns},
    {"-1,--one", nullptr, "Print CT IDs only, one a line, without header"},
    {"-s,--sort", "[-]COLUMN", "Sort by a column; - reverses", Values::columns},
    {"-h,--hostname", "PATTERN", "Containers with a host name that matches the shell pattern"},
    {"-N,--name_filter", "PATTERN", "Containers with a name that matches"},
    {"-d,--description", "PATTERN", "Containers with a description that matches"},
    {"-L,--list", nullptr, "List the columns"},
    {"--color", "WHEN", "auto, always or never"},
};

struct Query {
  std::vector<ColumnChoice> columns;
  ColumnChoice sort;
  bool reverse = false;
  Format format = Format::table;
  bool header = true, trim = true;
  std::vector<vz::Ctid> ids;  // empty: all
  Color color = Color::automatic;
};

vz::Result<ColumnChoice> choose(std::string_view name) {
  auto found = find_column(name);
  if (!found)
    return fail(vz::Error(Code::bad_syntax, fmt::format("Unknown field: {}", name)).with_hint("vzlist -L lists all"));
  return *found;
}

vz::Result<std::vector<ColumnChoice>> choose_columns(const Options& options, Format format) {
  std::string list =
      options.has("--name") ? "smart_name,numproc,status,ip,hostname" : "ctid,numproc,status,ip,hostname";
  bool structured = is_structured(format);
  if (const std::string* given = options.last("--output")) {
    list = *given;
  } else if (options.has("--one")) {
    list = options.has("--name") ? "smart_name" : "ctid";
  } else if (structured) {
    list.clear();
    for (const ColumnSpec& spec : column_specs()) list += (list.empty() ? "" : ",") + std::string(spec.name);
  }
  std::vector<ColumnChoice> out;
  std::string_view rest = list;
  while (true) {
    size_t comma = std::min(rest.find(','), rest.size());
    ColumnChoice choice = VZ_TRY(choose(rest.substr(0, comma)));
    if (structured && choice.suffixed)
      return fail(Code::bad_syntax, fmt::format("Field `{}' is not available in JSON output", choice.name));
    out.push_back(std::move(choice));
    if (comma == rest.size()) break;
    rest.remove_prefix(comma + 1);
  }
  return out;
}

vz::Result<Query> parse_query(const vz::Host& host, const Options& options) {
  Query q;
  q.format = VZ_TRY(chosen_format(options));
  q.color = VZ_TRY(parse_color(options.value_or("--color", "auto")));
  q.columns = VZ_TRY(choose_columns(options, q.format));
  q.header = !options.has("--no-header") && !(options.has("--one") && !options.has("--output"));
  q.trim = !options.has("--no-trim");
  std::string sort = options.value_or("--sort", "ctid");
  q.reverse = sort.starts_with("-");
  q.sort = VZ_TRY(choose(std::string_view(sort).substr(q.reverse ? 1 : 0)));
  for (const std::string& word : options.words) {
    auto id = host.resolve(word);
    if (!id) return fail(vz::Error(Code::bad_value, fmt::format("Invalid CT ID or name: {}", word)));
    q.ids.push_back(*id);
  }
  return q;
}

bool matches(const Options& options, const char* option, const std::optional<std::string>& value) {
  auto patterns = options.all(option);
  return patterns.empty() || std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
           return value && fnmatch(pattern.c_str(), value->c_str(), 0) == 0;
         });
}

bool wanted(const Query& q, const Options& options, const vz::ContainerInfo& info) {
  if (!q.ids.empty() && std::find(q.ids.begin(), q.ids.end(), info.id) == q.ids.end()) return false;
  const vz::Status& s = info.status;
  if (options.has("--stopped") && s.running) return false;
  // Named containers are shown in any state.
  if (q.ids.empty() && !options.has("--all") && !options.has("--stopped") && !s.running) return false;
  return matches(options, "--hostname", info.config.get("HOSTNAME")) &&
         matches(options, "--name_filter", info.config.get("NAME")) &&
         matches(options, "--description", info.config.get("DESCRIPTION"));
}

// Every requested column, and the one that is sorted by.
template <class Function>
void for_each_choice(const Query& q, Function function) {
  bool whole = is_structured(q.format);
  function(q.sort, false);
  for (const ColumnChoice& choice : q.columns) function(choice, whole);
}

// Of the running ones, what was asked for.
vz::Result<> read_counters(const vz::Host& host, const Query& q, std::vector<ListItem>& items) {
  vz::UbParts wanted;
  for_each_choice(q, [&](const ColumnChoice& choice, bool whole) { wanted.add(needed_counters(choice, whole)); });
  std::vector<vz::Ctid> ids;
  for (const ListItem& item : items)
    if (item.info.status.running) ids.push_back(item.info.id);
  if (!wanted.any() || ids.empty()) return {};
  auto counters = VZ_TRY(vz::Beancounters::open(host));
  auto snapshots = VZ_TRY(counters.read(ids, wanted));
  auto next = snapshots.begin();
  for (ListItem& item : items)
    if (item.info.status.running) item.ub = *next++;
  return {};
}

vz::Result<std::vector<ListItem>> collect(const vz::Host& host, const Query& q, const Options& options) {
  bool all = options.has("--all") || options.has("--stopped") || !q.ids.empty();
  std::vector<vz::ContainerInfo> infos = VZ_TRY(vz::list_containers(host, all));
  std::erase_if(infos, [&](const vz::ContainerInfo& info) { return !wanted(q, options, info); });
  vz::Readings readings;
  for_each_choice(q, [&](const ColumnChoice& choice, bool whole) {
    if (needs_disk(choice, whole)) readings.add({vz::Reading::disk});
  });
  auto samples = vz::sample_containers(host, infos, readings);
  std::vector<ListItem> out;
  out.reserve(infos.size());
  for (size_t i = 0; i < infos.size(); ++i) out.push_back({std::move(infos[i]), std::move(samples[i]), {}});
  VZ_TRY(read_counters(host, q, out));
  return out;
}

// Numbers by value, "-" first; all else as text; equal ones by CT ID.
void sort_items(std::vector<ListItem>& items, const vz::Host& host, const Query& q) {
  std::vector<std::pair<std::pair<double, std::string>, ListItem>> keyed;
  for (ListItem& item : items) {
    std::string text = q.sort.spec->cell(host, item, q.sort.part).text;
    bool number = q.sort.spec->numeric;
    double value = number && text != "-" ? strtod(text.c_str(), nullptr) : -1;
    // 003d01h:… sorts right as text.
    if (std::string_view(q.sort.spec->name) == "uptime") number = false;
    keyed.push_back({{number ? value : 0, number ? "" : text}, std::move(item)});
  }
  std::stable_sort(keyed.begin(), keyed.end(),
                   [&](const auto& a, const auto& b) { return q.reverse ? b.first < a.first : a.first < b.first; });
  items.clear();
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
}

std::string cut(std::string text, int width) {
  size_t room = static_cast<size_t>(std::abs(width));
  // Numbers are never cut, only what is left-aligned.
  if (width < 0 && text.size() > room) text.resize(room);
  // No half of a UTF-8 sequence.
  size_t end = text.size();
  while (end > 0 && (static_cast<unsigned char>(text[end - 1]) & 0xc0) == 0x80) --end;
  if (end > 0 && static_cast<unsigned char>(text[end - 1]) >= 0xc0) {
    auto lead = static_cast<unsigned char>(text[end - 1]);
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (text.size() - (end - 1) < length) text.resize(end - 1);
  }
  return text;
}

// UBC-like values are objects in JSON; a suffix picks one number of them elsewhere.
Table build(const vz::Host& host, const Query& q, const std::vector<ListItem>& items) {
  Table table;
  bool structured = is_structured(q.format);
  for (size_t i = 0; i < q.columns.size(); ++i) {
    const ColumnChoice& choice = q.columns[i];
    std::string header = choice.spec->header;
    if (choice.suffixed) header += choice.name.substr(choice.name.find('.'));
    table.columns.push_back({structured ? choice.spec->name : choice.name, header, choice.spec->width, {}});
  }
  for (const ListItem& item : items) {
    std::vector<Cell> row;
    for (size_t i = 0; i < q.columns.size(); ++i) {
      const ColumnChoice& choice = q.columns[i];
      Cell cell = choice.spec->cell(host, item, choice.part);
      if (!structured && choice.spec->kind != ColumnKind::plain)
        cell.value = cell.text == "-" ? Value() : Value(std::uint64_t{strtoull(cell.text.c_str(), nullptr, 10)});
      if (q.format == Format::table && q.trim) cell.text = cut(std::move(cell.text), choice.spec->width);
      row.push_back(std::move(cell));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string column_list() {
  std::string out;
  for (const ColumnSpec& spec : column_specs()) {
    std::string_view suffixes = spec.kind == ColumnKind::beancounter ? "mblf"
                                : spec.kind == ColumnKind::quota     ? "sh"
                                                                     : "";
    out += fmt::format("{:<15} {}\n", spec.name, spec.header);
    for (char suffix : suffixes)
      out += fmt::format("{:<15} {}.{}\n", fmt::format("{}.{}", spec.name, suffix), spec.header, suffix);
  }
  return out;
}

std::string help() {
  std::string out = "Usage: vzlist [OPTIONS] [CTID|NAME...]\n\nLists containers.\n\nOptions:\n";
  for (const Option& option : kOptions)
    out += fmt::format("  {:<28} {}\n", fmt::format("{} {}", option.names, option.metavar ? option.metavar : ""),
                       option.help);
  return out;
}

int failed(TerminalReporter& reporter, const vz::Error& error) {
  reporter.error(error);
  return kFailed;
}

}  // namespace

std::span<const Option> vzlist_options() { return kOptions; }

int vzlist_main(std::vector<std::string> args) {
  TerminalReporter reporter("vzlist");
  auto options = parse_options(kOptions, std::move(args));
  if (!options) return failed(reporter, options.error());
  if (options->has("--help")) return finish(reporter, put(help())) ? kFailed : 0;
  if (options->has("--list")) return finish(reporter, put(column_list())) ? kFailed : 0;
  if (geteuid() != 0) return failed(reporter, vz::Error(Code::no_access, "This program can only be run under root."));
  auto host = vz::Host::open();
  if (!host) return failed(reporter, host.error());
  auto query = parse_query(*host, *options);
  if (!query) return failed(reporter, query.error());
  auto items = collect(*host, *query, *options);
  if (!items) return failed(reporter, items.error());
  sort_items(*items, *host, *query);
  if (items->empty() && query->format == Format::table) {
    reporter.say(vz::Reporter::Level::warning, "Container(s) not found");
    return query->ids.empty() ? 0 : kFailed;
  }
  Table table = build(*host, *query, *items);
  auto written = put(render(table, query->format, {.header = query->header, .color = use_color(query->color, 1)}));
  if (!written) return failed(reporter, written.error());
  return items->empty() && !query->ids.empty() ? kFailed : 0;
}

}  // namespace vzctl

// SPDX-License-Identifier: GPL-2.0-or-later
// vztmpl: OS templates, listed, built and deleted.
#include <unistd.h>

#include <ctime>

#include <fmt/format.h>
#include <vz/template.h>

#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

constexpr Option kOptions[] = {
    {"--include", "PACKAGE[,PACKAGE...]", "build: add packages to the default set"},
    {"--mirror", "URL", "build: take packages from here, not from the mirror of this machine's apt configuration"},
    {"-H,--no-header", nullptr, "list, available: print no header line"},
    {"-j,--json", nullptr, "list, available: print JSON"},
    {"--format", "FORMAT", "list, available: table, json, csv or yaml", Values::format},
    {"-q,--quiet", nullptr, "Print errors only in the log"},
    {"-v,--verbose", nullptr, "Print more"},
    {"--color", "WHEN", "auto, always or never"},
};

constexpr const char* kUsage =
    "Usage: vztmpl list\n"
    "       vztmpl available\n"
    "       vztmpl build NAME [--include PACKAGES] [--mirror URL]\n"
    "       vztmpl delete NAME\n";

std::string iso_time(std::int64_t seconds) {
  char text[32];
  time_t when = seconds;
  tm utc{};
  gmtime_r(&when, &utc);
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

Table template_table(const std::vector<vz::TemplateInfo>& list) {
  Table table{
      {{"name", "NAME", -24, {}}, {"bytes", "SIZE", 10, {}}, {"mtime", "BUILT", -20, {}}, {"path", "PATH", -1, {}}},
      {}};
  for (const vz::TemplateInfo& t : list)
    table.rows.push_back(
        {{t.name, t.name}, {human_bytes(t.bytes), t.bytes}, {iso_time(t.mtime), iso_time(t.mtime)}, {t.path, t.path}});
  return table;
}

Table name_table(const std::vector<std::string>& names) {
  Table table{{{"name", "NAME", -1, {}}}, {}};
  for (const std::string& name : names) table.rows.push_back({{name, name}});
  return table;
}

std::vector<std::string> split_words(const std::vector<std::string>& lists) {
  std::vector<std::string> out;
  for (const std::string& list : lists) {
    std::string word;
    for (char c : list + ",") {
      if (c != ',' && c != ' ') {
        word += c;
      } else if (!word.empty()) {
        out.push_back(std::move(word));
        word.clear();
      }
    }
  }
  return out;
}

vz::Result<> print(const Table& table, const Options& options) {
  Format format = VZ_TRY(chosen_format(options));
  return put(render(table, format, {.header = !options.has("--no-header"), .fit = true}));
}

vz::Result<> need_words(const Options& options, size_t count) {
  if (options.words.size() == count) return {};
  const char* text = options.words.size() < count ? "Template name missing" : "Too many arguments";
  return fail(vz::Error(Code::bad_syntax, text).with_hint("see: vztmpl --help"));
}

vz::Result<> run(const vz::Host& host, const Options& options, TerminalReporter& reporter) {
  const std::string& verb = options.words[0];
  if (verb == "list" || verb == "available") {
    VZ_TRY(need_words(options, 1));
    if (verb == "available") return print(name_table(vz::buildable_templates()), options);
    return print(template_table(VZ_TRY(vz::list_templates(host))), options);
  }
  if (verb != "build" && verb != "delete")
    return fail(vz::Error(Code::bad_syntax, fmt::format("Bad command: {}", verb)).with_hint("see: vztmpl --help"));
  VZ_TRY(need_words(options, 2));
  if (geteuid() != 0) return fail(Code::no_access, fmt::format("vztmpl {} can only be run under root", verb));
  const std::string& name = options.words[1];
  catch_cancel_signals();
  if (verb == "delete") return vz::delete_template(host, name, reporter);
  vz::TemplateBuild what{name, split_words(options.all("--include")), options.value_or("--mirror", "")};
  return vz::build_template(host, what, reporter);
}

std::string help() {
  std::string out = kUsage;
  out += "\nOptions:\n";
  for (const Option& option : kOptions)
    out += fmt::format("  {:<34} {}\n", fmt::format("{} {}", option.names, option.metavar ? option.metavar : ""),
                       option.help);
  return out;
}

}  // namespace

std::span<const Option> vztmpl_options() { return kOptions; }

int vztmpl_main(std::vector<std::string> args) {
  TerminalReporter reporter("vztmpl");
  auto options = parse_options(kOptions, std::move(args));
  if (!options) return finish(reporter, options.error());
  if (options->has("--help")) return finish(reporter, put(help()));
  if (options->has("--quiet")) reporter.set_quiet();
  if (options->has("--verbose")) reporter.set_verbosity(static_cast<int>(options->all("--verbose").size()));
  auto color = parse_color(options->value_or("--color", "auto"));
  if (!color) return finish(reporter, color.error());
  reporter.set_color(*color);
  if (options->words.empty()) {
    fputs(kUsage, stderr);
    return static_cast<int>(Code::bad_syntax);
  }
  auto host = vz::Host::open();
  if (!host) return finish(reporter, host.error());
  reporter.use_config(host->global(), options->has("--verbose"));
  return finish(reporter, run(*host, *options, reporter));
}

}  // namespace vzctl

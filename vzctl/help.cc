// SPDX-License-Identifier: GPL-2.0-or-later
// Help and the generated parts of the manual, both from the command, option and Param tables.
#include <algorithm>

#include <fmt/format.h>
#include <vz/version.h>

#include "vzctl/columns.h"
#include "vzctl/command.h"
#include "vzctl/face.h"
#include "vzctl/format.h"
#include "vzctl/settings.h"
#include "vzctl/ubc_table.h"

namespace vzctl {
namespace {

constexpr size_t kWidth = 100;  // of help texts
constexpr size_t kIndent = 30;  // of what an option does

constexpr Option kGlobals[] = {
    {"-q,--quiet", nullptr, "Print nothing on the terminal; the log file has it"},
    {"-v,--verbose", nullptr, "Print more; may be repeated"},
    {"--color", "auto|always|never", "Colour of state words and errors; auto obeys NO_COLOR"},
    {"--progress", "auto|json|never",
     "How far a long action is: on a terminal (auto), as lines of JSON on standard error, or not at all"},
    {"--version", nullptr, "Print the version"},
    {"--help", nullptr, "Print help; also after a command"},
};

std::string wrapped(std::string_view text, size_t indent) {
  std::string out;
  size_t column = indent;
  while (!text.empty()) {
    size_t end = std::min(text.find(' '), text.size());
    if (column > indent && column + 1 + end > kWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) out += ' ', ++column;
    out += text.substr(0, end);
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string option_head(const Option& option) {
  std::string head;
  for (std::string_view name : option_names(option)) head += (head.empty() ? "" : ", ") + std::string(name);
  if (option.metavar) head += fmt::format(" {}", option.metavar);
  return head;
}

std::string option_line(const Option& option) {
  std::string head = "  " + option_head(option);
  std::string gap =
      head.size() + 2 > kIndent ? "\n" + std::string(kIndent, ' ') : std::string(kIndent - head.size(), ' ');
  return head + gap + wrapped(option.help, kIndent) + "\n";
}

std::string option_lines(std::span<const Option> options) {
  std::string out;
  for (const Option& option : options)
    if (option.help) out += option_line(option);
  return out;
}

bool is_own(const Command& command, const Option& option) {
  return std::any_of(command.options.begin(), command.options.end(),
                     [&](const Option& own) { return option_name(own) == option_name(option); });
}

std::string names_of(const Command& command) {
  std::string out = command.name;
  for (const char* alias : command.aliases) out += fmt::format("|{}", alias);
  return out;
}

// ---- reStructuredText

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '*' || c == '`' || c == '|' || c == '_' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string rst_option(const Option& option) {
  std::string head;
  for (std::string_view name : option_names(option))
    head += fmt::format("{}**{}**", head.empty() ? "" : ", ", escaped(name));
  if (option.metavar) head += fmt::format(" *{}*", escaped(option.metavar));
  return fmt::format("{}\n    {}\n\n", head, escaped(option.help));
}

std::string rst_heading(std::string_view text, char line) {
  return fmt::format("{}\n{}\n\n", text, std::string(text.size(), line));
}

std::string rst_command(const Command& command) {
  std::string out = fmt::format("**{}** {}\n    {}.", escaped(names_of(command)), escaped(command.synopsis),
                                escaped(command.summary));
  if (command.details && *command.details) out += fmt::format("\n    {}", escaped(command.details));
  out += "\n\n";
  for (const Option& option : command.options) {
    if (!option.help) continue;
    std::string text = rst_option(option);
    size_t newline = text.find('\n');
    out += "    " + text.substr(0, newline + 1) + "    " + text.substr(newline + 1);
  }
  return out;
}

std::string rst_commands() {
  std::string out;
  for (const Command& command : commands()) out += rst_command(command);
  return out;
}

const char* applies_text(vz::Applies applies) {
  switch (applies) {
    case vz::Applies::restart:
      return " Takes effect at the next start.";
    case vz::Applies::create:
      return " Only an option of create.";
    case vz::Applies::not_enforced:
      return " Kept in the file, not enforced yet.";
    default:
      return "";
  }
}

std::string rst_settings() {
  std::string out, group;
  for (const vz::Param& param : vz::params()) {
    if (!param.option) continue;
    if (group != param.group) out += rst_heading(group = param.group, '~');
    std::string help = std::string(param.help) + applies_text(param.applies);
    Option row = setting_option(param);
    row.help = help.c_str();
    out += rst_option(row);
  }
  return out;
}

// Keys of a container's file, or those of vz.conf only.
std::string rst_keys(bool host) {
  std::string out, group;
  for (const vz::Param& param : vz::params()) {
    if (!param.key || vz::find_param_by_key(param.key) != &param || (std::string_view(param.group) == "Host") != host)
      continue;
    if (!host && group != param.group) out += rst_heading(group = param.group, '~');
    std::string option = param.option ? fmt::format(" Option **{}**.", escaped(param.option)) : "";
    out += fmt::format("**{}**\\ =\"*{}*\"\n    {}{}{}\n\n", escaped(param.key),
                       escaped(param.metavar ? param.metavar : "VALUE"), escaped(param.help), option,
                       applies_text(param.applies));
  }
  return out;
}

std::string rst_options(std::span<const Option> options) {
  std::string out;
  for (const Option& option : options)
    if (option.help) out += rst_option(option);
  return out;
}

std::string rst_columns() {
  std::string out;
  for (const ColumnSpec& spec : column_specs()) {
    const char* suffixes = spec.kind == ColumnKind::beancounter ? ", with **.m** **.b** **.l** **.f**"
                           : spec.kind == ColumnKind::quota     ? ", with **.s** **.h**"
                                                                : "";
    out += fmt::format("| **{}** ({}){}\n", escaped(spec.name), escaped(spec.header), suffixes);
  }
  return out;
}

std::string rst_part(std::string_view part) {
  if (part == "commands") return rst_commands();
  if (part == "options") return rst_settings();
  if (part == "globals") return rst_options(kGlobals);
  if (part == "keys") return rst_keys(false);
  if (part == "hostkeys") return rst_keys(true);
  if (part == "vzlist") return rst_options(vzlist_options());
  if (part == "columns") return rst_columns();
  if (part == "beancounters") return ubc_rst();
  if (const Face* face = find_face(part)) return rst_options(face->options);
  return "";
}

}  // namespace

std::string usage() {
  std::string out =
      "vzctl version " VZ_VERSION_STRING "\nUsage: vzctl [FLAGS] COMMAND [CTID|NAME] [OPTIONS]\n\nCommands:\n";
  for (const Command& command : commands()) out += fmt::format("  {:<26}  {}\n", names_of(command), command.summary);
  out += "\nFlags:\n" + option_lines(kGlobals);
  return out +
         "\n`vzctl help COMMAND` tells more; vzlist lists containers, vztmpl makes OS templates, vzmemcheck adds up "
         "memory. See vzctl(8).\n";
}

std::string command_help(const Command& command) {
  std::string out = fmt::format("vzctl version {}\nUsage: vzctl {} {}\n\n{}.\n", VZ_VERSION_STRING, names_of(command),
                                command.synopsis, command.summary);
  if (command.details && *command.details) out += "\n" + wrapped(command.details, 0) + "\n";
  if (!command.options.empty()) out += "\nOptions:\n" + option_lines(command.options);
  for (std::string_view group : setting_groups(command.settings)) {
    std::string lines;
    for (const Option& option : setting_options_of(command.settings, group))
      if (!is_own(command, option)) lines += option_line(option);
    if (!lines.empty()) out += fmt::format("\n{}:\n{}", group, lines);
  }
  return out;
}

int run_help(Invocation& call) {
  if (const std::string* part = call.options.last("--rst")) {
    std::string text = rst_part(*part);
    if (!text.empty()) return finish(call.reporter, put(text));
    return finish(call.reporter, vz::Error(vz::Code::bad_syntax, fmt::format("Bad value for --rst: {}", *part)));
  }
  if (call.options.words.empty()) return finish(call.reporter, put(usage()));
  const Command* command = find_command(call.options.words[0]);
  if (command) return finish(call.reporter, put(command_help(*command)));
  return finish(call.reporter, vz::Error(vz::Code::bad_syntax, fmt::format("Bad command: {}", call.options.words[0]))
                                   .with_hint("see: vzctl --help"));
}

}  // namespace vzctl

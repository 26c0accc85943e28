// SPDX-License-Identifier: GPL-2.0-or-later
// vzctl [FLAGS] COMMAND CTID [OPTIONS]: from the words to a command's run function.
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include <fmt/format.h>
#include <vz/version.h>
#include "vzctl/command.h"
#include "vzctl/format.h"

namespace vzctl {
namespace {

using vz::Code;
using vz::fail;

// What comes before the command.
struct Globals {
  size_t used = 0;  // words
  bool verbosity_given = false;
  bool help = false, version = false;
};

vz::Result<Globals> parse_globals(const std::vector<std::string>& args, TerminalReporter& reporter) {
  Globals out;
  for (; out.used < args.size() && args[out.used].starts_with("-"); ++out.used) {
    const std::string& word = args[out.used];
    if (word == "--quiet" || word == "-q") {
      reporter.set_quiet();
    } else if (word == "--verbose" || word == "-v") {
      reporter.set_verbosity(reporter.verbosity() + 1);
      out.verbosity_given = true;
    } else if (word == "--color" && out.used + 1 < args.size()) {
      reporter.set_color(VZ_TRY(parse_color(args[++out.used])));
    } else if (word.starts_with("--color=")) {
      reporter.set_color(VZ_TRY(parse_color(std::string_view(word).substr(8))));
    } else if (word == "--progress" && out.used + 1 < args.size()) {
      reporter.set_progress(VZ_TRY(parse_progress(args[++out.used])));
    } else if (word.starts_with("--progress=")) {
      reporter.set_progress(VZ_TRY(parse_progress(std::string_view(word).substr(11))));
    } else if (word == "--version") {
      out.version = true;
    } else if (word == "--help" || word == "-h") {
      out.help = true;
    } else if (word != "--skiplock") {  // accepted: locks die with their owner
      return fail(vz::Error(Code::bad_syntax, fmt::format("Bad option: {}", word)).with_hint("see: vzctl --help"));
    }
  }
  return out;
}

bool is_number(std::string_view word) { return !word.empty() && word.find_first_not_of("-+0123456789") == word.npos; }

vz::Result<vz::Ctid> parse_ctid(const vz::Host& host, const Command& command, const std::vector<std::string>& args) {
  const std::string& word = args[0];
  if (word.empty() || word.starts_with("--"))
    return fail(vz::Error(Code::bad_value, fmt::format("Bad CT ID {}", word))
                    .with_hint(fmt::format("usage: vzctl {} {}", command.name, command.synopsis)));
  vz::Result<vz::Ctid> id = is_number(word) ? vz::Ctid::parse(word) : host.resolve(word);
  if (!id && is_number(word))
    return fail(vz::Error(Code::bad_value, fmt::format("Bad CT ID {}", word))
                    .with_hint(fmt::format("a CT ID is a number from 1 to {}, or a name", vz::Ctid::kMax)));
  if (id && id->value() == 0 && std::string_view(command.name) != "set")
    return fail(Code::bad_value, "Only set actions are allowed for CT0");
  return id;
}

vz::Result<> check_configured(const vz::Host& host, vz::Ctid id) {
  if (access(host.config_path(id).c_str(), F_OK) == 0) return {};
  return fail(vz::Error(Code::no_config, "Container config file does not exist")
                  .with_hint(fmt::format("no {}; vzlist -a shows all containers", host.config_path(id))));
}

// `--help` anywhere among a command's own options; what follows a raw command's CTID is not ours.
bool wants_help(const Command& command, const std::vector<std::string>& args) {
  for (const std::string& arg : args) {
    if (arg == "--") return false;
    if (arg == "--help") return true;
    if (command.max_words == Command::kRaw) return false;
  }
  return false;
}

vz::Result<Options> parse_arguments(const Command& command, std::vector<std::string> args) {
  if (command.max_words == Command::kRaw) {
    Options raw;
    raw.words = std::move(args);
    return raw;
  }
  auto options = parse_options(command_options(command), std::move(args));
  auto hint = [&] { return fmt::format("see: vzctl help {}", command.name); };
  if (!options) return fail(std::move(options).error().with_hint(hint()));
  if (options->words.size() > static_cast<size_t>(command.max_words))
    return fail(vz::Error(Code::bad_syntax, fmt::format("Unexpected argument: {}",
                                                        options->words[static_cast<size_t>(command.max_words)]))
                    .with_hint(hint()));
  return options;
}

vz::Result<int> run(const Command& command, std::vector<std::string> args, const Globals& globals,
                    TerminalReporter& reporter) {
  std::string word = std::move(args[0]);
  args.erase(args.begin());
  if (args.empty() && (command.needs == Needs::ctid || command.needs == Needs::container))
    return fail(vz::Error(Code::bad_value, "CT ID missing")
                    .with_hint(fmt::format("usage: vzctl {} {}", command.name, command.synopsis)));
  std::optional<vz::Host> host;
  vz::Ctid id{0};
  if (command.needs != Needs::nothing) {
    host.emplace(VZ_TRY(vz::Host::open()));
    if (command.needs != Needs::host) {
      id = VZ_TRY(parse_ctid(*host, command, args));
      args.erase(args.begin());
      reporter.set_ctid(id);
    }
    reporter.use_config(host->global(), globals.verbosity_given);
  }
  Options options = VZ_TRY(parse_arguments(command, std::move(args)));
  if (command.needs == Needs::container) VZ_TRY(check_configured(*host, id));
  if (command.needs != Needs::nothing && command.run != run_status && command.run != run_check && geteuid() != 0)
    return fail(Code::no_access, fmt::format("vzctl {} can only be run under root", word));
  if (command.locked) catch_cancel_signals();
  Invocation call{command, std::move(word), std::move(options), host ? &*host : nullptr, id, reporter};
  return command.run(call);
}

}  // namespace

int finish(TerminalReporter& reporter, const vz::Error& error) {
  reporter.error(error);
  int code = static_cast<int>(error.code());
  return code ? code : static_cast<int>(Code::system);
}

int finish(TerminalReporter& reporter, const vz::Result<>& result) {
  return result ? 0 : finish(reporter, result.error());
}

int vzctl_main(std::vector<std::string> args) {
  TerminalReporter reporter("vzctl");
  auto globals = parse_globals(args, reporter);
  if (!globals) return finish(reporter, globals.error());
  args.erase(args.begin(), args.begin() + static_cast<std::ptrdiff_t>(globals->used));
  if (globals->version) return finish(reporter, put("vzctl version " VZ_VERSION_STRING "\n"));
  if (globals->help) return finish(reporter, put(usage()));
  if (args.empty()) {
    fputs(usage().c_str(), stderr);
    return static_cast<int>(Code::bad_syntax);
  }
  const Command* command = find_command(args[0]);
  if (!command)
    return finish(reporter,
                  vz::Error(Code::bad_syntax, fmt::format("Bad command: {}", args[0])).with_hint("see: vzctl --help"));
  if (wants_help(*command, {args.begin() + 1, args.end()})) return finish(reporter, put(command_help(*command)));
  auto status = run(*command, std::move(args), *globals, reporter);
  return status ? *status : finish(reporter, status.error());
}

}  // namespace vzctl

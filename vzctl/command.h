// SPDX-License-Identifier: GPL-2.0-or-later
// The table of vzctl's commands. Dispatch, help, completion and the man pages read it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <vz/container.h>
#include <vz/ctid.h>
#include <vz/host.h>
#include "vzctl/options.h"
#include "vzctl/reporter.h"

namespace vzctl {

// How a command line names what it works on.
enum class Needs {
  nothing,    // help, completion: not even vz.conf
  host,       // check
  ctid,       // a container that need not have a configuration: create, status, set
  container,  // a container with a configuration, else exit 14
};

// Which settings of vz::params() are options of the command too.
enum class Settings { none, create, set };

struct Command;

// Everything that a command's run function works with.
struct Invocation {
  const Command& command;
  std::string word;  // the command as typed: "exec2", "delete"
  Options options;
  const vz::Host* host;  // nullptr when the command needs nothing
  vz::Ctid id;           // 0 when the command has no CTID
  TerminalReporter& reporter;

  vz::Container container() const { return vz::Container(*host, id); }
};

struct Command {
  const char* name;
  std::vector<const char*> aliases;
  Needs needs;
  const char* synopsis;  // what follows the name
  const char* summary;   // one line
  const char* details;   // paragraphs for help and the man page
  std::span<const Option> options;
  int max_words;  // arguments that are not options; kRaw: all arguments are passed on untouched
  int (*run)(Invocation&);
  Settings settings = Settings::none;
  bool locked = false;  // SIGINT cancels instead of killing
  static constexpr int kRaw = -1;
};

std::span<const Command> commands();
std::vector<Command> storage_commands();  // of them: snapshots, backups, monitor
const Command* find_command(std::string_view name);

// The command's own options and those that the settings give it.
std::vector<Option> command_options(const Command& command);

// run functions, each in the file of its name.
int run_create(Invocation&);
int run_destroy(Invocation&);
int run_start(Invocation&);
int run_stop(Invocation&);
int run_restart(Invocation&);
int run_status(Invocation&);
int run_set(Invocation&);
int run_exec(Invocation&);
int run_enter(Invocation&);
int run_console(Invocation&);
int run_runscript(Invocation&);
int run_suspend(Invocation&);
int run_resume(Invocation&);
int run_mount(Invocation&);
int run_umount(Invocation&);
int run_convert(Invocation&);
int run_compact(Invocation&);
int run_check(Invocation&);
int run_vswap(Invocation&);
int run_migrate(Invocation&);
int run_agent(Invocation&);
int run_metrics(Invocation&);
int run_quota(Invocation&);
int run_quota_switch(Invocation&);
int run_boot_start(Invocation&);
int run_boot_stop(Invocation&);
int run_help(Invocation&);
int run_completion(Invocation&);
int run_snapshot(Invocation&);
int run_snapshot_list(Invocation&);
int run_snapshot_switch(Invocation&);
int run_snapshot_delete(Invocation&);
int run_snapshot_mount(Invocation&);
int run_snapshot_umount(Invocation&);
int run_backup(Invocation&);
int run_backup_list(Invocation&);
int run_backup_verify(Invocation&);
int run_backup_delete(Invocation&);
int run_restore_backup(Invocation&);
int run_monitor(Invocation&);

// The three texts that are built from the tables.
std::string usage();                                    // `vzctl --help`
std::string command_help(const Command& command);       // `vzctl help CMD`
std::string completion_script(std::string_view shell);  // empty: unknown shell

// Options of start and stop, also used by restart.
std::span<const Option> migrate_options();
std::span<const Option> start_options();
std::span<const Option> stop_options();
vz::StartOptions to_start_options(const Options& options);
vz::Result<vz::StopOptions> to_stop_options(const Options& options);

// Faces of the binary.
int vzctl_main(std::vector<std::string> args);
int vzlist_main(std::vector<std::string> args);
int vztmpl_main(std::vector<std::string> args);
int vzd_main(std::vector<std::string> args);
std::span<const Option> vzlist_options();
std::span<const Option> vztmpl_options();

// Reports the error as the dialect does and returns its exit code.
int finish(TerminalReporter& reporter, const vz::Error& error);
int finish(TerminalReporter& reporter, const vz::Result<>& result);

}  // namespace vzctl

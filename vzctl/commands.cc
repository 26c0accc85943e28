// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <array>

#include "vzctl/command.h"
#include "vzctl/settings.h"

namespace vzctl {
namespace {

constexpr Option kCreateOptions[] = {
    {"--ostemplate", "NAME", "OS template in TEMPLATE/cache; DEF_OSTEMPLATE otherwise", Values::ostemplate},
    {"--config", "NAME", "Take the settings of the sample ve-NAME.conf-sample; CONFIGFILE otherwise", Values::sample},
    {"--ve_layout,--velayout,--layout", "image|dir",
     "image (also ploop): a file system of its own in one file, with an exact limit; dir (also simfs): a directory"},
    {"--force", nullptr, "Go on where only a limit cannot be enforced"},
};
constexpr Option kStartOptions[] = {
    {"--force", nullptr, "Start although DISABLED=yes, or although a limit cannot be enforced"},
    {"--wait", nullptr, "Return when the container's init says that it is up"},
    {"--skip-fsck", nullptr, "Do not check the image's file system first"},
    {"--skip-remount", nullptr, nullptr},
    {"--skip_ve_setup", nullptr, nullptr},
};
constexpr Option kStopOptions[] = {
    {"--fast", nullptr, "Kill at once instead of asking init to shut down"},
    {"--skip-umount", nullptr, "Leave the file system mounted"},
    {"--stop-timeout", "SECONDS", "Kill after this time; STOP_TIMEOUT or 120 otherwise"},
};
constexpr auto kRestartOptions = [] {
  std::array<Option, std::size(kStartOptions) + std::size(kStopOptions)> all{};
  std::copy(std::begin(kStartOptions), std::end(kStartOptions), all.begin());
  std::copy(std::begin(kStopOptions), std::end(kStopOptions), all.begin() + std::size(kStartOptions));
  return all;
}();
constexpr Option kSuspendOptions[] = {
    {"--dumpfile", "DIRECTORY", "Where to save it; DUMPDIR/Dump.CTID otherwise", Values::file},
    {"--suspend", nullptr, "Only stop all processes where they are"},
    {"--dump", nullptr, "Only save what was stopped by --suspend; it stays stopped"},
    {"--kill", nullptr, "Only end what was stopped"},
    {"--resume", nullptr, "Let what was stopped run on; a dump of it is removed"},
    {"--force", nullptr, "Save it although something inside would be lost or changed"},
    {"--flags", "N", nullptr},
    {"--context", "N", nullptr},
    {"--keep_pages", nullptr, nullptr},
    {"--skip_arpdetect", nullptr, nullptr},
};
constexpr Option kResumeOptions[] = {
    {"--dumpfile", "DIRECTORY", "What to continue from; DUMPDIR/Dump.CTID otherwise", Values::file},
    {"--undump", nullptr, "Only bring the processes back, stopped"},
    {"--resume", nullptr, "Let run what --undump brought back, and remove the dump"},
    {"--kill", nullptr, "End what --undump brought back; the dump can be used again"},
    {"--keep_pages,--keep-dump", nullptr, "Do not remove the dump; it cannot be used again for this container"},
    {"--force", nullptr, "Although DISABLED=yes, or although a limit cannot be enforced"},
    {"--skip-fsck", nullptr, "Do not check the image's file system first"},
    {"--skip-remount", nullptr, nullptr},
    {"--flags", "N", nullptr},
    {"--context", "N", nullptr},
    {"--skip_arpdetect", nullptr, nullptr},
};
constexpr Option kStatusOptions[] = {{"-j,--json", nullptr, "Print one JSON object"}};
constexpr Option kSetOptions[] = {
    {"--save", nullptr, "Write the changes to the configuration file"},
    {"--force", nullptr, "With --save: write even what cannot be applied now"},
    {"--setmode", "restart|ignore", "What to do when a change needs a restart"},
    {"--dry-run", nullptr, "Print what would be written where, and write nothing"},
    {"--applyconfig", "NAME", "Apply the settings of the sample ve-NAME.conf-sample", Values::sample},
    {"--reset_ub", nullptr, "Apply the limits of the configuration file again; allows no other option"},
    {"-j,--json", nullptr, "With --dry-run: print JSON"},
    {"--offline,--offline-resize", nullptr, nullptr},
    {"--skip_arpdetect", nullptr, nullptr},
};
constexpr Option kDestroyOptions[] = {{"--force", nullptr, "Do not ask on a terminal"}};
constexpr Option kConvertOptions[] = {
    {"--ve_layout,--velayout,--layout", "image|dir", "The layout to convert to (ploop and simfs are aliases)"},
};
constexpr Option kCheckOptions[] = {
    {"--fix", nullptr,
     "First do what is missing and needs neither unmounting nor a restart: project quota switched on"},
    {"-j,--json", nullptr, "Print JSON"},
    {"--format", "FORMAT", "table, json, csv or yaml", Values::format},
};
constexpr Option kVswapOptions[] = {
    {"--size", "SIZE", "start: size of the device; VSWAP_SIZE, or what containers are promised otherwise"},
    {"--backing", "DEVICE", "start: unused disk to which the kernel may write pages back; VSWAP_BACKING otherwise",
     Values::file},
    {"-j,--json", nullptr, "Print one JSON object"},
};
constexpr Option kQuotaOptions[] = {
    {"--blocks", "SOFT[:HARD]", "Limit of space; a number is KiB, suffixes K, M, G, T; 0: none. grace: seconds"},
    {"--inodes", "SOFT[:HARD]", "Limit of files and directories; 0: none. grace: seconds"},
    {"-j,--json", nullptr, "Print JSON, space in bytes"},
};
constexpr Option kHelpOptions[] = {
    {"--rst", "PART",
     "Print a part of the manual as reStructuredText: commands, globals, options, keys, hostkeys, vzlist or columns"}};

std::vector<Command> lifecycle_commands() {
  return {
      {"create",
       {},
       Needs::ctid,
       "CTID [OPTIONS]",
       "Create a container",
       "Unpacks an OS template into a new private area and writes ETC/conf/CTID.conf from a sample and the options.",
       kCreateOptions,
       0,
       run_create,
       Settings::create,
       true},
      {"destroy",
       {"delete"},
       Needs::container,
       "CTID [--force]",
       "Remove a stopped container",
       "Removes the private area and renames the configuration to CTID.conf.destroyed. On a terminal it asks first.",
       kDestroyOptions,
       0,
       run_destroy,
       Settings::none,
       true},
      {"start",
       {},
       Needs::container,
       "CTID [--wait] [--force] [--skip-fsck]",
       "Mount and start a container",
       "",
       kStartOptions,
       0,
       run_start,
       Settings::none,
       true},
      {"stop",
       {},
       Needs::container,
       "CTID [--fast] [--skip-umount] [--stop-timeout SECONDS]",
       "Stop and unmount a container",
       "Asks the container's init to shut down and kills everything in it when that takes too long. A container that "
       "is not running is no error.",
       kStopOptions,
       0,
       run_stop,
       Settings::none,
       true},
      {"restart",
       {},
       Needs::container,
       "CTID [OPTIONS of start and stop]",
       "Stop and start a container",
       "",
       kRestartOptions,
       0,
       run_restart,
       Settings::none,
       true},
      {"status",
       {},
       Needs::ctid,
       "CTID [--json]",
       "Print the container's state on one line",
       "Prints `CTID N exist|deleted mounted|unmounted running|down [suspended]`. The exit status is always 0, also "
       "for an unknown container.",
       kStatusOptions,
       0,
       run_status},
      {"suspend",
       {"chkpnt"},
       Needs::container,
       "CTID [--dumpfile DIRECTORY] [--suspend|--dump|--kill|--resume] [--force]",
       "Save a running container with its memory and end it",
       "Writes all processes with their memory, open files and network connections to a dump, a directory that only "
       "root "
       "can read, and ends them. resume (restore) or start continue them, also after a reboot of the host. Without a "
       "step, all is done; a failure lets the container run on. A dump can be used once, and not after the container "
       "has run again. What cannot be saved is named first (see `vzctl check CTID`).",
       kSuspendOptions,
       0,
       run_suspend,
       Settings::none,
       true},
      {"resume",
       {"restore"},
       Needs::container,
       "CTID [--dumpfile DIRECTORY] [--undump|--resume|--kill] [--keep_pages]",
       "Continue a suspended container",
       "Brings the processes of a dump back. The dump is removed when they run; after a failure it is as good as "
       "before.",
       kResumeOptions,
       0,
       run_resume,
       Settings::none,
       true},
      {"mount",
       {},
       Needs::container,
       "CTID",
       "Mount a stopped container's root at VE_ROOT",
       "",
       {},
       0,
       run_mount,
       Settings::none,
       true},
      {"umount",
       {},
       Needs::container,
       "CTID",
       "Unmount a stopped container's root",
       "",
       {},
       0,
       run_umount,
       Settings::none,
       true},
      {"convert",
       {},
       Needs::container,
       "CTID [--layout image|dir]",
       "Convert a stopped container to another layout",
       "Its files are copied beside the old ones, with owners, links, holes, access lists and attributes; then both "
       "change places. Killed before that, the container is as it was. An image takes its size from --diskspace of the "
       "configuration. Sockets are not copied.",
       kConvertOptions,
       0,
       run_convert,
       Settings::none,
       true},
      {"compact",
       {},
       Needs::container,
       "CTID",
       "Give blocks that the image does not use back to the host",
       "The container may run. Nothing happens with the dir layout, which uses no more than its files do.",
       {},
       0,
       run_compact,
       Settings::none,
       true},
  };
}

std::vector<Command> work_commands() {
  return {
      {"set",
       {},
       Needs::ctid,
       "CTID [--save] [--dry-run] [--setmode restart|ignore] SETTINGS...",
       "Change settings of a container",
       "Applies the settings to a running container at once where that is possible; with --save they are written to "
       "its configuration file too. If a setting cannot be applied, nothing is saved.",
       kSetOptions,
       0,
       run_set,
       Settings::set,
       true},
      {"exec",
       {"exec2", "exec3"},
       Needs::container,
       "CTID COMMAND [ARG...] | -",
       "Run a command in a running container",
       "exec and exec2 join the arguments with blanks and hand them to the container's shell; `-` reads commands from "
       "standard input. exec3 runs the program without a shell. exec returns 8 when the command fails; exec2 and "
       "exec3 return the command's own exit status.",
       {},
       Command::kRaw,
       run_exec},
      {"enter",
       {},
       Needs::container,
       "CTID [--exec COMMAND [ARG...]]",
       "Open a login shell in a running container",
       "The shell runs on a terminal that belongs to the container.",
       {},
       Command::kRaw,
       run_enter},
      {"console",
       {},
       Needs::container,
       "CTID [TTY]",
       "Attach to the container's console",
       "`Esc .` detaches. TTY is 1 unless given. May be started before the container.",
       {},
       1,
       run_console},
      {"runscript",
       {},
       Needs::container,
       "CTID FILE",
       "Run a script of the host inside the container",
       "A stopped container is mounted and set up without init for the script, and unmounted again.",
       {},
       1,
       run_runscript,
       Settings::none,
       true},
      {"check",
       {},
       Needs::host,
       "[CTID] [--fix] [--json|--format FORMAT]",
       "Print what this host can and cannot do, or what keeps a container from being saved",
       "Without CTID: one line for each kernel feature, and for each missing one what does not work and what to do. "
       "With "
       "the CTID of a running container: what suspend could not save or would change, by process, and what to do; the "
       "exit status is 16 then.",
       kCheckOptions,
       1,
       run_check},
      {"migrate",
       {},
       Needs::ctid,
       "CTID HOST [--check-only] [--remove-area yes|no] [--times] [--json] | CTID --resolve [--take-back|--drop]",
       "Move a container to another host",
       "Asks `vzctl agent` on the other host, through ssh, whether it can have the container, copies the disk while it "
       "runs and then what changed, stops it, copies the rest and starts it there; its number, name, addresses, "
       "limits, "
       "ids inside and usage stay. Until the other host has everything, any failure leaves it here, running if it ran. "
       "When the connection is lost at the moment of the handover, --resolve asks the other host and finishes. Both "
       "hosts "
       "must have the same version of vz.",
       migrate_options(),
       1,
       run_migrate,
       Settings::none,
       true},
      {"vswap",
       {},
       Needs::host,
       "start|stop|status [--size SIZE] [--backing DEVICE] [--json]",
       "Set up the compressed RAM that containers swap to",
       "start makes a zram device for what containers may use beyond their --ram, puts it before every other swap, and "
       "loads vz.ko and the BPF programs that slow swapping down to --vswap-rate; done twice it changes nothing. stop "
       "takes the device away again, unless what it holds fits nowhere else. Swap that was not made by this command is "
       "never touched. vz-vswap.service runs it at boot.",
       kVswapOptions,
       1,
       run_vswap,
       Settings::none,
       true},
      {"quota",
       {},
       Needs::container,
       "CTID report | CTID user|group NAME [--blocks S[:H]] [--inodes S[:H]] | CTID grace [--blocks SEC] [--inodes "
       "SEC]",
       "Show and set disk quotas of users and groups inside",
       "Works on running and on stopped containers. report shows what each user and group has and may have; NAME is a "
       "name "
       "in the container's own /etc/passwd or /etc/group, or a number. What is not given stays; without --blocks and "
       "--inodes it is shown. grace sets for how long soft limits may be exceeded (image layout). Limits are enforced "
       "when --quotaugidlimit is not 0; they are in the container's file system and survive restarts and crashes.",
       kQuotaOptions,
       2,
       run_quota},
      {"quotaon",
       {"quotaoff", "quotainit"},
       Needs::container,
       "CTID",
       "Answer scripts that switch disk quotas",
       "Disk limits are kept by the file system: they are on whenever it is mounted and never have to be counted. "
       "quotaon "
       "and quotainit say so; quotaoff is refused with the dir layout, where it would lift a limit.",
       {},
       0,
       run_quota_switch},
      {"metrics",
       {},
       Needs::host,
       "",
       "Print everything that is counted, for monitoring",
       "OpenMetrics text of all containers: CPU time, I/O and traffic since their creation, memory, processes, disk "
       "space, pressure (PSI) and beancounters. vz-exporter(8) serves the same over HTTP.",
       {},
       0,
       run_metrics},
      {"help", {}, Needs::nothing, "[COMMAND]", "Print help", "", kHelpOptions, 1, run_help},
      {"completion",
       {},
       Needs::nothing,
       "bash|zsh|fish",
       "Print a completion script for a shell",
       "",
       {},
       1,
       run_completion},
  };
}

// What vz.service and other hosts run; neither in the help nor in the completion.
std::span<const Command> service_commands() {
  static const Command all[] = {
      {"agent", {}, Needs::host, "", "Serve a migration on standard input and output", "", {}, 0, run_agent},
      {"boot-start",
       {},
       Needs::host,
       "",
       "Start the containers that start with the host",
       "",
       {},
       0,
       run_boot_start,
       Settings::none,
       true},
      {"boot-stop",
       {},
       Needs::host,
       "",
       "Stop all containers, to be started again by boot-start",
       "",
       {},
       0,
       run_boot_stop,
       Settings::none,
       true},
  };
  return all;
}

}  // namespace

std::span<const Command> commands() {
  static const std::vector<Command> all = [] {
    std::vector<Command> list = lifecycle_commands();
    for (auto* more : {work_commands, storage_commands})
      for (Command& command : more()) list.push_back(std::move(command));
    return list;
  }();
  return all;
}

const Command* find_command(std::string_view name) {
  for (auto list : {commands(), service_commands()})
    for (const Command& command : list) {
      if (name == command.name) return &command;
      for (const char* alias : command.aliases)
        if (name == alias) return &command;
    }
  return nullptr;
}

std::vector<Option> command_options(const Command& command) {
  std::vector<Option> all(command.options.begin(), command.options.end());
  auto known = [&](std::string_view name) {
    return std::any_of(all.begin(), all.end(), [&](const Option& o) { return option_name(o) == name; });
  };
  for (const Option& option : setting_options(command.settings))
    if (!known(option_name(option))) all.push_back(option);
  return all;
}

std::span<const Option> start_options() { return kStartOptions; }
std::span<const Option> stop_options() { return kStopOptions; }

}  // namespace vzctl
